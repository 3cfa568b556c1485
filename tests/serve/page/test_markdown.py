"""Markdown becomes the elements that it says, and never any others."""

from __future__ import annotations

import random
import re

import pytest

from .conftest import Blank
from .nodes import PEER, Nodes

RENDER = """async (texts) => {
  const {render} = await import("/page/markdown.js");
  return texts.map((text) => {
    const body = document.createElement("div");
    body.append(render(text));
    return body.innerHTML.replaceAll(/ dir="(auto|ltr)"/g, "");
  });
}"""
LINK = 'rel="noopener noreferrer nofollow" target="_blank"'
LEFT, CENTER = ('style="text-align: left;"', 'style="text-align: center;"')
UNMADE = '<input type="checkbox" disabled="" aria-label="not done">'
MADE = '<input type="checkbox" disabled="" aria-label="done" checked="">'


def code(text: str, language: str = "") -> str:
    return (
        f'<div class="code"><div class="code-head"><span>{language}</span><button type="button" class="copy" '
        f'aria-label="Copy code">Copy</button></div><pre tabindex="0"><code>{text}</code></pre></div>'
    )


def math(text: str) -> str:
    return f'<span class="math">{text}</span>'


def link(address: str, text: str) -> str:
    return f'<a href="{address}" {LINK}>{text}</a>'


GOLDEN = [
    ("", ""),
    ("\n \n", ""),
    ("a\nb", "<p>a\nb</p>"),
    ("a  \nb\\\nc", "<p>a<br>b<br>c</p>"),
    ("# a\n###### b ##\n####### c", "<h1>a</h1><h6>b</h6><p>####### c</p>"),
    ("a\n=\n\nb\nc\n---", "<h1>a</h1><h2>b\nc</h2>"),
    ("#a\n#\n# #\n# b#", "<p>#a</p><h1></h1><h1></h1><h1>b#</h1>"),
    ("*a* _b_ **c** __d__", "<p><em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong></p>"),
    ("***e*** **f*g*h**", "<p><em><strong>e</strong></em> <strong>f<em>g</em>h</strong></p>"),
    ("snake_case_name 2*3*4 ** a **", "<p>snake_case_name 2<em>3</em>4 ** a **</p>"),
    ("~~a~~ ~b~ ~~~c~~~ ~5 to ~6", "<p><del>a</del> <del>b</del> ~~~c~~~ ~5 to ~6</p>"),
    ("`a` `` b`c `` `d", "<p><code>a</code> <code>b`c</code> `d</p>"),
    ("`*a*` \\*b\\* \\c", "<p><code>*a*</code> *b* \\c</p>"),
    ("```python title\nx\n\n  y\n```\nz", code("x\n\n  y", "python") + "<p>z</p>"),
    ("~~~\n```\n~~~", code("```")),
    ("```\n<b>&amp;", code("&lt;b&gt;&amp;amp;")),
    ("``` a`b\nc", "<p>``` a`b\nc</p>"),
    ("    a\n\n      b\n\nc", code("a\n\n  b") + "<p>c</p>"),
    ("- a\n- b\n  1. c\n  2. d\n- e", "<ul><li>a</li><li>b<ol><li>c</li><li>d</li></ol></li><li>e</li></ul>"),
    ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
    ("7. a\n8. b\n\n1) c", '<ol start="7"><li>a</li><li>b</li></ol><ol><li>c</li></ol>'),
    ("a\n2. b\nc\n1. d", "<p>a\n2. b\nc</p><ol><li>d</li></ol>"),
    ("- [ ] a\n- [X]c", f'<ul><li class="task">{UNMADE} a</li><li>[X]c</li></ul>'),
    ("1. [x] a\n\n2. b", f'<ol><li class="task"><p>{MADE} a</p></li><li><p>b</p></li></ol>'),
    ("1. a\n\n   ```sh\n   b\n   ```", "<ol><li><p>a</p>" + code("b", "sh") + "</li></ol>"),
    ("> a\nb\n> > c\n\nd", "<blockquote><p>a\nb</p><blockquote><p>c</p></blockquote></blockquote><p>d</p>"),
    ("---\n***\n_ _ _\n--", "<hr><hr><hr><p>--</p>"),
    (
        "a\n| x | y |\n|:--|:-:|\n| *1* | `p\\|q` | 3 |\n| 2\n\nb",
        f"<p>a</p><table><thead><tr><th {LEFT}>x</th><th {CENTER}>y</th></tr></thead>"
        f"<tbody><tr><td {LEFT}><em>1</em></td><td {CENTER}><code>p|q</code></td></tr>"
        f"<tr><td {LEFT}>2</td><td {CENTER}></td></tr></tbody></table><p>b</p>",
    ),
    ("x | y\n-|-:", '<table><thead><tr><th>x</th><th style="text-align: right;">y</th></tr></thead></table>'),
    ("| x | y |\n|---|", "<p>| x | y |\n|---|</p>"),
    ('[a *b*](http://x.y/z "t")', f"<p>{link('http://x.y/z', 'a <em>b</em>')}</p>"),
    ("[a](<http://x.y/a b>)", f"<p>{link('http://x.y/a%20b', 'a')}</p>"),
    ("[b](http://x.y/(c))", f"<p>{link('http://x.y/(c)', 'b')}</p>"),
    ("[a](/b) [c](#d) [e](ftp://f) [g](javascript:h) [i] [j]()", "<p>a c e g [i] j</p>"),
    ("![a](http://x.y/z.png)", f"<p>{link('http://x.y/z.png', 'a')}</p>"),
    ("![](http://x.y/)", f"<p>{link('http://x.y/', 'http://x.y/')}</p>"),
    ("[![a](http://x.y/z.png)](http://q.r/)", f"<p>{link('http://q.r/', 'a')}</p>"),
    ("[a [b](http://x.y/) c](http://q.r/)", f"<p>[a {link('http://x.y/', 'b')} c]({link('http://q.r/', 'http://q.r/')})</p>"),
    ("<http://x.y/z> <xsl:template>", f"<p>{link('http://x.y/z', 'http://x.y/z')} &lt;xsl:template&gt;</p>"),
    ("<a@b.cd>", f"<p>{link('mailto:a@b.cd', 'a@b.cd')}</p>"),
    ("(see https://x.y/a_b_c(d).)", f"<p>(see {link('https://x.y/a_b_c(d)', 'https://x.y/a_b_c(d)')}.)</p>"),
    ("www.x.org, a", f"<p>{link('http://www.x.org/', 'www.x.org')}, a</p>"),
    ("a.b@c.de!", f"<p>{link('mailto:a.b@c.de', 'a.b@c.de')}!</p>"),
    ("[http://x.y/z](http://q.r/) xhttp://x.y", f"<p>{link('http://q.r/', 'http://x.y/z')} xhttp://x.y</p>"),
    ("&lt;&eacute;&#65;&#x1F600;&#0;&#xD800;&nope;&", "<p>&lt;éA😀\ufffd\ufffd&amp;nope;&amp;</p>"),
    ("<b>a</b> <!-- c -->\n</b>", "<p>&lt;b&gt;a&lt;/b&gt; &lt;!-- c --&gt;\n&lt;/b&gt;</p>"),
    (r"\(a_1*b*c\) \{", "<p>" + math(r"\(a_1*b*c\)") + " {</p>"),
    ("x \\[a\n= b\\] \\(c", "<p>x " + math("\\[a\n= b\\]") + " (c</p>"),
    ("$x_1$ $$m*c*q$$ costs $5 and $6", "<p>" + math("$x_1$") + " " + math("$$m*c*q$$") + " costs $5 and $6</p>"),
    ("a\n\n\\[\n- b\n\nc \\]\n\nd", '<p>a</p><pre class="math" tabindex="0">\\[\n- b\n\nc \\]</pre><p>d</p>'),
    ("$$\n= b\n$$\nd", '<pre class="math" tabindex="0">$$\n= b\n$$</pre><p>d</p>'),
    ("`$a$` \\$b$ $ c$ $", "<p><code>$a$</code> $b$ $ c$ $</p>"),
    ("a\r\nb\rc\n\r\nd", "<p>a\nb\nc</p><p>d</p>"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "html"), GOLDEN)
def test_what_markdown_becomes(tab: Blank, text: str, html: str) -> None:
    assert tab.run(RENDER, [text]) == [html]


def test_text_is_written_from_the_side_that_its_letters_ask_for(tab: Blank) -> None:
    text = "שלום.\n\n- أولا\n\n> ثانيا\n\n|א|b|\n|-|-|\n\n# ב\n\nד `ג` $x$\n\n```\nד\n```\n\n$$\nx\n$$"
    found = tab.run(
        """async (text) => {
          const {render} = await import("/page/markdown.js");
          document.body.replaceChildren(render(text));
          const side = (node) => getComputedStyle(node).direction;
          return [...document.body.querySelectorAll("*")].map((node) => [node.localName, side(node)]);
        }""",
        text,
    )
    sides = {}
    for name, side in found:
        sides.setdefault(name, []).append(side)
    for name in ("ul", "li", "h1", "table"):
        assert set(sides[name]) == {"rtl"}
    assert sides["p"] == ["rtl"] * 3
    for name in ("code", "pre", "span"):
        assert set(sides[name]) == {"ltr"}


PIECES = [
    "a", "b", "word", "foo bar", "*", "**", "_", "__", "`", "``", "~~", "\n", "\n", "\n\n", "  ", "    ", "\t", "- ",
    "* ", "+ ", "1. ", "2) ", "10. ", "> ", ">", "# ", "## ", "###", "```", "```py", "\n~~~\nx\n~~~\n", "---", "***",
    "===", "[", "]", "(", "](mailto:a)", "(mailto:b)", ")", "[l](mailto:q)", "![i](mailto:i)", "<mailto:z>", "\\*",
    "\\_", "\\`", "&amp;", "&#65;", "<b>", "!", "é", "😀", '"', ".", "  \n", "<", ">", "[x](javascript:y)",
]  # fmt: skip
TABLES = ["|", "|", "\n\n|a|b|\n|-|-|\n", "a|b\n-|:-:\n", "|-|-|", "\\|"]
DIFFERENT = re.compile(r"\[\]\(|~~~~|\S~~~|[-*+.)] *\n\s*\n")
"""Where GitHub's rules are not the peer's: ~~~ in a line; an empty item before a blank line; links without a text."""


def random_texts(number: int, pieces: list[str], seed: int) -> list[str]:
    chance = random.Random(seed)
    lengths = [chance.choice((6, 12, 30)) for _ in range(number)]
    return ["".join(chance.choice(pieces) for _ in range(chance.randrange(1, most))).strip() for most in lengths]


def test_it_is_read_as_another_program_reads_it(tab: Blank) -> None:
    texts = [text for text in random_texts(6000, PIECES, seed=0) if not DIFFERENT.search(text)]
    assert len(texts) > 4000
    wrong = [
        (text, ours)
        for text, ours in zip(texts, tab.run(RENDER, texts), strict=True)
        if Nodes(ours).found != Nodes(PEER.render(text)).found
    ]
    assert wrong == []


def test_what_is_written_piece_by_piece_is_what_is_written_at_once(tab: Blank) -> None:
    chance = random.Random(1)
    texts = random_texts(400, [*PIECES, *TABLES, "\r", "\r\n"], seed=2)
    cuts = [[*sorted(chance.randrange(len(text) + 1) for _ in range(12)), len(text)] for text in texts]
    wrong = tab.run(
        """async ([texts, cuts]) => {
          const {MarkdownView, render} = await import("/page/markdown.js");
          const [shown, whole] = [document.createElement("div"), document.createElement("div")];
          const view = new MarkdownView(shown);
          const wrong = [];
          texts.forEach((text, i) => {
            for (const cut of cuts[i]) {
              const piece = text.slice(0, cut);
              view.update(piece);
              whole.replaceChildren(render(piece));
              if (shown.innerHTML !== whole.innerHTML) wrong.push([piece, shown.innerHTML, whole.innerHTML]);
            }
          });
          return wrong;
        }""",
        [texts, cuts],
    )
    assert wrong == []


SHOWN = """async (updates) => {
  const {MarkdownView} = await import("/page/markdown.js");
  const body = document.createElement("div");
  body.append("before");
  const view = new MarkdownView(body);
  let old = [];
  return updates.map((text) => {
    view.update(text);
    const nodes = [...body.children];
    const kept = nodes.map((node, i) => node === old[i]);
    old = nodes;
    return kept;
  });
}"""


def test_blocks_that_did_not_change_keep_their_nodes(tab: Blank) -> None:
    text = "# a\n\nb\n\n- c\n- d\n\n```\ne\n```\n\n|f|g|\n|-|-|\n|h|i|\n\nlast one"
    found = tab.run(SHOWN, [text[:-4], text, text + "!", "# z" + text[3:] + "!", text + "!\n\nmore\n\nand more"])
    assert found == [[False] * 6, [True] * 6, [True] * 6, [True] * 6, [True] * 6 + [False] * 2]


def test_only_the_end_of_a_long_text_is_made_again(tab: Blank) -> None:
    """Counted by the elements that are made, not by time."""
    made = tab.run("""async () => {
      const {MarkdownView} = await import("/page/markdown.js");
      const view = new MarkdownView(document.createElement("div"));
      let text = "some *words*\\n\\n- an item\\n\\n```\\ncode\\n```\\n\\n".repeat(500);
      view.update(text);
      const create = document.createElement;
      let count = 0;
      document.createElement = (...names) => { count += 1; return create.apply(document, names); };
      for (let i = 0; i < 20; i += 1) view.update(text += " and");
      document.createElement = create;
      return count;
    }""")
    assert made <= 20 * 12


def test_only_the_end_of_a_long_list_is_made_again(tab: Blank) -> None:
    found = tab.run("""async () => {
      const {MarkdownView} = await import("/page/markdown.js");
      const view = new MarkdownView(document.createElement("div"));
      let text = "1. an *item*\\n".repeat(500);
      view.update(text);
      const items = [...view.target.querySelectorAll("li")];
      const create = document.createElement;
      let count = 0;
      document.createElement = (...names) => { count += 1; return create.apply(document, names); };
      for (let i = 0; i < 20; i += 1) view.update(text += "1. *more*\\n");
      document.createElement = create;
      const after = [...view.target.querySelectorAll("li")];
      return [count, after.length, items.every((item, i) => item === after[i])];
    }""")
    assert found == [20 * 3, 520, True]


def test_a_list_that_becomes_another_one_is_made_again(tab: Blank) -> None:
    texts = ["- a\n- b", "- a\n\n- b", "1. a\n\n- b", "2. a", "3. a\n", "3. a\n- b", "a", "- a\n- b\n- c", "- a"]
    found = tab.run(
        """async (texts) => {
          const {MarkdownView} = await import("/page/markdown.js");
          const view = new MarkdownView(document.createElement("div"));
          return texts.map((text) => {
            view.update(text);
            return view.target.innerHTML.replaceAll(' dir="auto"', "");
          });
        }""",
        texts,
    )
    assert found == tab.run(RENDER, texts)


def test_a_table_that_turns_out_to_be_none_is_text_again(tab: Blank) -> None:
    """Its second line says so, when the block before it was over already."""
    found = tab.run(
        """async (texts) => {
          const {MarkdownView} = await import("/page/markdown.js");
          const view = new MarkdownView(document.createElement("div"));
          return texts.map((text) => { view.update(text); return view.target.children.length; });
        }""",
        ["x\na|b\n-|-", "x\na|b\n-|-z"],
    )
    assert found == [2, 1]


def test_nodes_inside_the_block_that_grows_stay_too(tab: Blank) -> None:
    found = tab.run("""async () => {
      const {MarkdownView} = await import("/page/markdown.js");
      const body = document.createElement("div");
      const view = new MarkdownView(body);
      view.update("- a\\n- b\\n\\n  ```py\\n  on");
      const before = [...body.querySelectorAll("ul, li, .code, button, pre, code")];
      const text = body.querySelector("code").firstChild;
      view.update("- a\\n- b\\n\\n  ```py\\n  one\\n  two");
      const after = [...body.querySelectorAll("ul, li, .code, button, pre, code")];
      return [before.every((node, i) => node === after[i]), text.isConnected || body.contains(text), text.data];
    }""")
    assert found == [True, True, "one\ntwo"]


def test_a_text_may_become_another_one_or_none(tab: Blank) -> None:
    assert tab.run(SHOWN, ["a\n\nb", "- a", "", "x"]) == [[False, False], [False], [], [False]]


COPY = """async ([text, mode]) => {
  const {render} = await import("/page/markdown.js");
  const written = [];
  const clipboard = {writeText: async (text) => { if (mode !== "works") throw new Error("no"); written.push(text); }};
  Object.defineProperty(navigator, "clipboard", {value: mode === "missing" ? undefined : clipboard});
  document.execCommand = (name) => {
    if (mode === "nothing") return false;
    written.push(name, document.activeElement.value);
    return true;
  };
  document.body.replaceChildren(render(text));
  const button = document.querySelector("button");
  window.seen = [];
  new MutationObserver(() => seen.push(button.textContent)).observe(button, {childList: true});
  button.focus();
  button.click();
  while (!seen.length) await new Promise((done) => setTimeout(done, 5));
  const focus = document.activeElement === button;
  return [written, button.textContent, document.querySelectorAll("textarea").length, focus];
}"""


@pytest.mark.parametrize(
    ("mode", "written", "said"),
    [
        ("works", ["a <b>\n\nc"], "Copied"),
        ("refuses", ["copy", "a <b>\n\nc"], "Copied"),
        ("missing", ["copy", "a <b>\n\nc"], "Copied"),
        ("nothing", [], "Not copied"),
    ],
)
def test_a_button_copies_code(blank: Blank, mode: str, written: list[str], said: str) -> None:
    assert blank.run(COPY, ["```\na <b>\n\nc\n```", mode]) == [written, said, 0, True]


def test_a_button_that_has_copied_can_be_pressed_again(blank: Blank) -> None:
    blank.page.clock.install()
    assert blank.run(COPY, ["```\na\n```", "works"])[1] == "Copied"
    blank.page.clock.fast_forward(2000)
    blank.run("async () => { while (seen.length < 2) await new Promise((done) => setTimeout(done, 50)); }")
    button = blank.page.locator("button")
    assert (button.text_content(), button.get_attribute("aria-label")) == ("Copy", "Copy code")


def test_a_button_still_says_that_it_has_copied_when_more_text_comes(blank: Blank) -> None:
    said = blank.run("""async () => {
      const {MarkdownView} = await import("/page/markdown.js");
      Object.defineProperty(navigator, "clipboard", {value: {writeText: async () => {}}});
      const view = new MarkdownView(document.body);
      view.update("```\\na");
      const button = document.querySelector("button");
      button.click();
      while (button.textContent === "Copy") await new Promise((done) => setTimeout(done, 5));
      view.update("```\\na\\nb");
      return [button.isConnected, button.textContent];
    }""")
    assert said == [True, "Copied"]
