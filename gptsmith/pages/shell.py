"""The one shell of every page and report: a whole HTML document that opens offline."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from gptsmith.base.json_text import json_text

PALETTE = "palette.css"
CHARTS_STYLE = "charts.css"
CHARTS = ("charts.js", "curves.js", "story.js")
"""The scripts that draw runs, joined in this order."""
LOG = "log.js"
"""What knows a log that grows."""
CHARTS_EXPORTS = (
    "Curves",
    "addNews",
    "emptyLog",
    "newLog",
    "secondsLeft",
    "showEvents",
    "showPlan",
    "showSamples",
    "useWords",
)
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath d='M2 3c3 9 6 9 12 10' fill='none' stroke='%233b78bd' stroke-width='2.5'/%3E%3C/svg%3E"
)
NEEDS_SCRIPTS = "The curves are drawn by a script in this file, and scripts are switched off."


class Html(str):
    """Text that is HTML already. Any other text is escaped where it becomes part of a page."""


def element(tag: str, *content: str, **attributes: str) -> Html:
    """An element with its content; `class_` is written class, and `aria_label` is written aria-label."""
    written = "".join(f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"' for name, value in attributes.items())
    return Html(f"<{tag}{written}>{''.join(map(escaped, content))}</{tag}>")


def escaped(text: str) -> Html:
    """The text as HTML that shows it; `Html` as it is. Half a surrogate pair becomes a question mark."""
    return text if isinstance(text, Html) else Html(html.escape(text.encode("utf-8", "replace").decode("utf-8")))


def section(heading: str, *content: str, name: str) -> Html:
    """A part of a page with its heading; scripts and links find it by its name."""
    return element(
        "section", element("h2", heading, id=f"{name}-heading"), *content, id=name, aria_labelledby=f"{name}-heading"
    )


def table(rows: Sequence[tuple[str, str]]) -> Html:
    """A table of two columns: what a value is called, and the value."""
    return element(
        "table", *(element("tr", element("th", name, scope="row"), element("td", value)) for name, value in rows)
    )


def page(
    title: str, content: Sequence[Html], *, scripts: Sequence[str] = (), data: Any = None, may_fetch: bool = False
) -> str:
    """A whole HTML document: style, scripts and data are in it, and its policy lets it load nothing else.

    Args:
        title: the document's title.
        content: what stands in its `<main>`, in order.
        scripts: files of this folder that are joined, in order, into one module.
        data: what the scripts read with `pageData()`, as JSON.
        may_fetch: whether the scripts may ask the server that the page came from.
    """
    style = "".join(map(_file, (PALETTE, CHARTS_STYLE, "page.css")))
    script = "\n".join(map(_file, scripts))
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "img-src data:",
            *(["connect-src 'self'"] if may_fetch else []),
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ]
    )
    head = "\n".join(
        [
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            f'<link rel="icon" href="{ICON}">',
            f"<title>{escaped(title)}</title>",
            f"<style>{style}</style>",
        ]
    )
    noscript = element("noscript", element("p", NEEDS_SCRIPTS, class_="notice")) if scripts else ""
    main = "\n".join([noscript, *content])
    tail = f'<script type="application/json" id="page-data">{json_in_html(data)}</script>\n' if data is not None else ""
    if scripts:
        tail += f'<script type="module">{script}</script>\n'
    body = f"<body>\n<main>\n{main}\n</main>\n{tail}</body>"
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n{body}\n</html>\n'


def charts_module() -> str:
    """The scripts that draw runs, as one module for pages of several files."""
    return "\n".join([*map(_file, (*CHARTS, LOG)), f"export {{ {', '.join(CHARTS_EXPORTS)} }};\n"])


def json_in_html(value: Any) -> str:
    """JSON that can stand in a script element and that a browser reads: numbers that are not finite are null."""
    text = json_text(value, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _file(name: str) -> str:
    return files("gptsmith.pages").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
