"""What HTML says, so that the page's nodes and another program's HTML can be compared."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urlsplit

from markdown_it import MarkdownIt

PEER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
PEER.validateLink = lambda _: True  # type: ignore[method-assign]
SAME = {"s": "del", "img": "a"}
VOID = ("br", "hr", "img", "input")
SINGLE_PROCESS = ("div", "span", "button")
"""What the page puts around code."""


class Nodes(HTMLParser):
    """A line for each thing that is there: where an element begins and ends, and what a text says."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text = ""
        self.open: list[str | None] = []
        self.tags: list[str] = []
        self.feed(html)
        self.close()
        self._end_text()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        address = values.get("href") or values.get("src") or ""
        name: str | None = SAME.get(tag, tag)
        leads = urlsplit(address).scheme in ("http", "https", "mailto") and "a" not in self.open
        if tag in SINGLE_PROCESS or (name == "a" and not leads):
            name = None
        if name is not None:
            self._end_text()
            style = values.get("style", "").strip(";").replace(" ", "")
            self.found.append(" ".join(filter(None, [name, address.rstrip("/"), values.get("start"), style])))
        self.tags.append(tag)
        self.open.append(name)
        if tag == "img":
            self.text += values["alt"] or address
        if tag in VOID:
            self.handle_endtag(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1] is not None:
            self._end_text()
            self.found.append(f"/{self.open[-1]}")
        self.open.pop()
        self.tags.pop()

    def handle_data(self, data: str) -> None:
        if not {"span", "button"} & set(self.tags):
            self.text += data

    def _end_text(self) -> None:
        text = self.text.strip("\n") if "pre" in self.tags else " ".join(self.text.split())
        if text:
            self.found.append(repr(text))
        self.text = ""
