"""The shell of every page: whole, escaped, and closed to everything outside of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from gptsmith.pages.shell import Html, element, escaped, json_in_html, page, section, table

SCRIPTS = ("charts.js", "curves.js", "story.js", "report.js")
NASTY = "</script><script>alert(\"1\")</script><!-- & 'x'"


def policy(document: str) -> dict[str, str]:
    (content,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', document)
    return {rule.split()[0]: " ".join(rule.split()[1:]) for rule in content.split("; ")}


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def test_text_is_escaped_and_html_is_not() -> None:
    assert escaped(NASTY) == (
        "&lt;/script&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&lt;!-- &amp; &#x27;x&#x27;"
    )
    assert element("p", "a < b", Html("<b>c</b>"), class_="x", aria_label='"') == (
        '<p class="x" aria-label="&quot;">a &lt; b<b>c</b></p>'
    )
    assert "<script>" not in section(NASTY, NASTY, name="x") + table([(NASTY, NASTY)])


def test_half_a_surrogate_pair_can_be_written() -> None:
    assert escaped("a\udcffb") == "a?b"
    assert json_in_html({"text": "\ud800"}).encode("utf-8") == b'{"text":"\\ud800"}'


def test_json_cannot_end_its_script_and_is_what_a_browser_reads() -> None:
    text = json_in_html({"text": NASTY, "loss": [float("nan"), float("inf"), 1.5]})
    assert "<" not in text
    assert json.loads(text) == {"text": NASTY, "loss": [None, None, 1.5]}


def test_the_policy_allows_this_style_and_this_script_and_nothing_else() -> None:
    document = page("title", [], scripts=SCRIPTS, data={"x": NASTY})
    (style,) = re.findall(r"<style>(.*?)</style>", document, re.DOTALL)
    (script,) = re.findall(r'<script type="module">(.*?)</script>', document, re.DOTALL)
    rules = policy(document)
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == sha256(style)
    assert rules["script-src"] == sha256(script)
    assert "connect-src" not in rules
    assert policy(page("title", [], scripts=SCRIPTS, may_fetch=True))["connect-src"] == "'self'"


def test_a_page_refers_to_nothing_outside_of_it() -> None:
    document = page("title", [section("Curves", name="curves")], scripts=SCRIPTS, data={})
    assert set(re.findall(r"https?://[^'\")\s]*", document)) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"@import|url\(", document)
    assert all(value.startswith("data:") for value in re.findall(r"""\s(?:src|href)=["']([^"']*)""", document))


def test_a_page_is_whole() -> None:
    document = page(NASTY, [element("p", "text")])
    assert document.startswith('<!doctype html>\n<html lang="en">')
    assert f"<title>{escaped(NASTY)}</title>" in document
    assert "<script" not in document
    assert document.endswith("</html>\n")


@pytest.mark.parametrize("path", [p for p in files("gptsmith.pages").iterdir() if p.name.endswith((".js", ".css"))])
def test_no_file_ends_the_element_it_is_put_into_or_asks_the_network(path: object) -> None:
    text = path.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert not re.findall(r"</(?:script|style)|<!--|innerHTML|eval\(|@import|url\(", text)


def test_what_is_put_into_pages_is_packaged() -> None:
    root = Path(__file__).resolve().parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "gptsmith.pages"
    ]
    others = [path for path in (root / "gptsmith" / "pages").iterdir() if path.is_file() and path.suffix != ".py"]
    assert others
    assert all(any(path.match(pattern) for pattern in patterns) for path in others)
