"""Claims in words and figures for people, the same at a terminal and on a page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gptsmith.explain.claim import Claim, Explanation, Item
from gptsmith.explain.parts import part_text

HEADINGS = {
    "alternatives": "How sure it was",
    "activation_patching": "Inside: between two prompts",
    "direct_logit_attribution": "Inside: what its parts wrote",
    "head_roles": "Inside: roles of heads",
    "logit_lens": "Inside: when it was decided",
}
"""The headings of methods whose own names say little to people."""

CHECKS_HEADING, TRUST_HEADING = "Identities of this model", "Can I trust this?"
CHECK_COLUMNS = ("identity", "off by (nats)", "at most", "")


def joined(texts: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else "".join(texts)


def heading_of(claim: Claim) -> str:
    """The heading of a claim: `Your sentences`."""
    if claim.kind == "leave_one_out":
        return f"Your {claim.by}"
    return HEADINGS.get(claim.kind, claim.kind.replace("_", " ").capitalize())


def label_of(item: Item) -> str:
    """An item in a list: white space is spelt out where there is nothing else; a reading from inside the network has
    its depth before it."""
    text = item.text.strip() or repr(item.text)
    if (depth := _depth_of(item)) is None:
        return text
    return f"{depth}: {text}"


def _depth_of(item: Item) -> str | None:
    """How deep in the network a token was read; None of an item that is the part itself."""
    found = re.fullmatch(r"blocks\.(\d+)\.(input|output)", item.part or "")
    if found is None or item.text == part_text(found[0]):
        return None
    return f"{'before' if found[2] == 'input' else 'after'} block {found[1]}"


def marked_texts(found: Explanation, claim: Claim) -> Iterator[tuple[str, list[tuple[str, Item | None]]]]:
    """Each text of the prompt that a claim has items in: whose turn it is, empty of a plain prompt; and the text in
    pieces, each with the item that it is. What is between items has none, nor has the white space before one."""
    turns = [{"role": "", "content": found.prompt}] if isinstance(found.prompt, str) else found.prompt
    for number, turn in enumerate(turns):
        text, done, pieces = turn["content"], 0, list[tuple[str, Item | None]]()
        for item in claim.items:
            if item.start is None or item.stop is None or item.message not in (None, number):
                continue
            start = item.stop - len(text[item.start : item.stop].lstrip())
            pieces += [(text[done:start], None), (text[start : item.stop], item)]
            done = item.stop
        if pieces:
            yield turn["role"], [*pieces, (text[done:], None)]


def rows_of(claim: Claim, most: int) -> list[tuple[Item, float, str]]:
    """The items of a claim that a list shows, each with the length of its bar and its figure: percentages of
    alternatives; readings at even depths; else the largest changes in nats."""
    if claim.kind == "alternatives":
        shares = [(item, math.exp(item.change)) for item in claim.items]
        return [(item, share, f"{100 * share:.1f} %") for item, share in shares]
    items = list(claim.items)
    if all(map(_depth_of, items)):
        number = min(most, len(items))
        shown = [items[round(place * (len(items) - 1) / max(1, number - 1))] for place in range(number)]
    else:
        shown = sorted(items, key=lambda item: -abs(item.change))[:most]
    return [(item, item.change, f"{item.change:+.2f}") for item in shown]


def check_row(check: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """An identity that was tried on a model: by how much it is off, by how much it may be, and whether it holds."""
    if check["error"] is None:
        return check["says"], "", "", f"not for this model: {check['why']}"
    return check["says"], f"{check['error']:.1e}", f"{check['bound']:.1e}", "holds" if check["holds"] else "FAILS"
