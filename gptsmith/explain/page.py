"""An explanation as one HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gptsmith.explain.claim import Claim, Explanation, Item
from gptsmith.explain.question import quoted
from gptsmith.explain.trust import trust
from gptsmith.explain.wording import (
    CHECK_COLUMNS,
    CHECKS_HEADING,
    TRUST_HEADING,
    check_row,
    heading_of,
    label_of,
    marked_texts,
    rows_of,
)
from gptsmith.pages.shell import Html, element, escaped, page, section

SHADES = 5
"""The steps in which parts of a text are shaded."""
MOST_ROWS = 12


def explanation_page(found: Explanation) -> str:
    """The page of an explanation: the reply, each claim with its verdict, the identities that were tried, and whether
    it can be trusted."""
    title = _title(found)
    header = element(
        "header", element("h1", title), element("p", f"{found.run}, step {found.step}", class_="soft"), _reply(found)
    )
    parts = [header, *(_claim(found, claim, number) for number, claim in enumerate(found.claims, 1))]
    if found.checks:
        parts.append(section(CHECKS_HEADING, _checks(found.checks), name="checks"))
    if lines := trust(found):
        parts.append(section(TRUST_HEADING, *(element("p", line) for line in lines), name="trust"))
    return page(title, parts)


def _title(found: Explanation) -> str:
    if found.target is None:
        return "What was found inside"
    against = "" if found.against is None else f" and not {quoted(found.against.text)}"
    return f"Why {quoted(found.target.text)}{against}?"


def explanation_html(found: Explanation) -> str:
    """The same for a notebook, in a frame of its own: its style leaves the notebook's alone."""
    document = escaped(explanation_page(found)).replace('"', "&quot;")
    return f'<iframe srcdoc="{document}" style="width:100%;height:34rem;border:0" title="explanation"></iframe>'


def _reply(found: Explanation) -> Html:
    before, word, after = (
        found.reply[: found.start], found.reply[found.start : found.stop], found.reply[found.stop :],
    )  # fmt: skip
    return element("p", before, element("mark", word, class_="asked"), after, class_="text")


def _claim(found: Explanation, claim: Claim, number: int) -> Html:
    content: list[Html] = [element("p", claim.says), *_texts(found, claim)]
    if claim.items:
        content.append(_bars(rows_of(claim, MOST_ROWS)))
    if claim.why:
        content.append(element("p", claim.why, class_=f"verdict {claim.verdict.split()[0]}"))
    if claim.tests:
        content.append(_tests(claim))
    return section(heading_of(claim), *content, name=f"claim-{number}")


def _texts(found: Explanation, claim: Claim) -> Iterator[Html]:
    """The texts of the prompt with the claim's parts shaded by how much they changed."""
    largest = max((abs(item.change) for item in claim.items), default=0.0) or 1.0
    for role, pieces in marked_texts(found, claim):
        shaded = [text if item is None else _shaded(item, text, largest) for text, item in pieces]
        yield element("p", *([f"{role}: "] if role else []), *shaded, class_="text")


def _shaded(item: Item, text: str, largest: float) -> Html | str:
    shade = round(SHADES * max(0.0, item.change) / largest)
    if not shade:
        return text
    named = " named" if item.is_named else ""
    return element("mark", text, class_=f"shade-{shade}{named}", title=f"{item.change:+.2f} nats")


def _bars(rows: Sequence[tuple[Item, float, str]]) -> Html:
    """A row for each item: its text, a bar, its figure; bars against the answer have another colour."""
    largest = max((abs(value) for _, value, _ in rows), default=0.0) or 1.0
    return element(
        "table",
        *(
            element(
                "tr",
                element("th", label_of(item), scope="row"),
                element("td", _bar(abs(value) / largest, "c1" if value < 0 else "c0")),
                element("td", figure, class_="number"),
            )
            for item, value, figure in rows
        ),
        class_="bars",
    )


def _bar(share: float, colour: str) -> Html:
    line = element("line", x1="0", x2=f"{200 * share:.0f}", y1="5", y2="5")
    return element("svg", line, class_=f"bar {colour}", viewBox="0 0 200 10", aria_hidden="true")


def _tests(claim: Claim) -> Html:
    """The figures of a claim's tests, folded."""
    names = ("test", "parts", "change (nats)", "at random (nats)", "95 % of these", "random choices", "p-value")
    rows = [
        (
            test.how, str(test.num_removed), f"{test.change:+.2f}", f"{test.random_mean:+.2f}",
            " to ".join(f"{edge:+.2f}" for edge in test.random_interval), str(test.num_random), f"{test.p_value:.3f}",
        )
        for test in claim.tests
    ]  # fmt: skip
    return element("details", element("summary", "the test in numbers"), _table(names, rows))


def _checks(checks: Sequence[dict[str, Any]]) -> Html:
    """A row for each identity."""
    return _table(CHECK_COLUMNS, [check_row(check) for check in checks])


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in names)))
    body = element("tbody", *(element("tr", *(element("td", value) for value in row)) for row in rows))
    return element("table", head, body)
