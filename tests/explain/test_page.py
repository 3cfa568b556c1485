"""An explanation for people: at a terminal, and as a page."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from gptsmith.explain.check import Check
from gptsmith.explain.claim import CHANCE, HOLDS, NOT_TESTED, Choice, Claim, Explanation, Item, Test, Verdict
from gptsmith.explain.page import explanation_html, explanation_page
from gptsmith.explain.shown import shown
from gptsmith.explain.trust import MEANINGS, trust
from gptsmith.explain.wording import label_of, rows_of

HOSTILE = "<script>alert(1)</script>\x1b[2J\"'"
PROMPT = f"Old iron. {HOSTILE} Sell"


def explained(verdict: Verdict = HOLDS) -> Explanation:
    """An explanation that was written down."""
    start = PROMPT.index(" <")
    test = Test("remove", 1, 3.0, 0.1, (-0.5, 0.7), 20, 1 / 21)
    items = [
        Item("Old", -0.5, 0, 3, is_named=False),
        Item("iron.", 3.0, 3, start),
        Item(HOSTILE, 0.0, start, start + 1 + len(HOSTILE), is_named=False),
        Item("Sell", 0.7, start + 1 + len(HOSTILE), len(PROMPT), is_named=False),
    ]
    claims = [
        Claim("alternatives", "The model gave it 8 in 100.", [Item(" a", -0.7), Item(HOSTILE, -2.3, is_named=False)]),
        Claim(
            "leave_one_out", f"Because of {HOSTILE}.", items, verdict, "Tested.", test, [test], 0.2, 2.5, 0.93, "words"
        ),
        Claim(
            "direct_logit_attribution", "Heads.", [Item("head 0 of block 1", 1.0, part="blocks.1.attention.heads.0")]
        ),
    ]
    return Explanation(
        "runs/x", 3, PROMPT, f" a {HOSTILE}", 0, 2, Choice(1, " a", 0.5, 1), Choice(2, HOSTILE, 0.1, 2), 3.0, claims
    )


def at_terminal(found: Explanation) -> str:
    out = io.StringIO()
    Console(file=out, width=100, force_terminal=True, color_system="truecolor").print(shown(found))
    return out.getvalue()


def test_nothing_in_a_text_does_anything_to_the_page_or_the_screen() -> None:
    page = explanation_page(explained())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b[2J" not in at_terminal(explained())
    frame = explanation_html(explained())
    assert frame.count("<iframe") == 1
    assert "<script" not in frame
    assert '"' not in frame.partition('srcdoc="')[2].partition('" style=')[0]


def test_important_words_are_marked_and_every_claim_has_its_figures() -> None:
    page, text = explanation_page(explained()), at_terminal(explained())
    assert '<mark class="shade-5 named" title="+3.00 nats">iron.</mark>' in page
    assert '<mark class="shade-1" title="+0.70 nats">Sell</mark>' in page
    assert '<mark class="asked"> a</mark>' in page
    assert "\x1b[1;7miron.\x1b[0m" in text
    for found in (page, text):
        assert "How sure it was" in found
        assert "Your words" in found
        assert "Inside: what its parts wrote" in found
        assert "49.7 %" in found
        assert "+3.00" in found
        assert "-0.50" in found
    assert "<td>0.048</td>" in page


def test_marks_stand_where_the_words_are_whatever_ends_the_lines() -> None:
    found = explained()
    item = Item("iron", 3.0, 6, 10)
    text = replace(found, prompt="Old\r\n\riron sold", claims=[replace(found.claims[1], items=[item])])
    assert "\x1b[1;7miron\x1b[0m sold" in at_terminal(text)
    assert ">iron</mark> sold" in explanation_page(text)


def test_identities_are_shown_and_nothing_is_said_of_trust_where_nothing_was_named() -> None:
    checks = [
        Check("taps", "changes no bit", 0.0, 0.0).plain(),
        Check("cache", "token by token", 0.5, 0.001).plain(),
        Check("lens", "is the model", None, 0.0, "<its norms>").plain(),
    ]
    nothing = Claim("head_roles", "No head with a role was found.", [])
    found = replace(explained(), target=None, claims=[nothing], checks=checks)
    page, text = explanation_page(found), at_terminal(found)
    for part in ("changes no bit", "token by token", "holds", "FAILS", "5.0e-01", "not for this model:"):
        assert part in page
        assert part in text
    assert "&lt;its norms&gt;" in page
    assert trust(found) == []
    assert "Can I trust this?" not in page + text


@pytest.mark.parametrize("verdict", [HOLDS, CHANCE, NOT_TESTED])
def test_every_verdict_has_its_sentence(verdict: Verdict) -> None:
    lines = trust(explained(verdict))
    assert MEANINGS[verdict] in lines
    assert any(line.startswith("The rest: without the words named") for line in lines)
    assert any("correlation of 0.93" in line for line in lines)
    assert MEANINGS[verdict] in explanation_page(explained(verdict))


def test_a_conversation_shows_the_turns_that_were_looked_at() -> None:
    found = explained()
    item = Item("iron", 3.0, 4, 8, message=1)
    talk = [{"role": "system", "content": "Be old."}, {"role": "user", "content": "Old iron"}]
    claim = replace(found.claims[1], items=[item])
    page = explanation_page(replace(found, prompt=talk, claims=[claim]))
    assert 'user: Old <mark class="shade-5 named"' in page
    assert "Be old." not in page
    assert "iron" in at_terminal(replace(found, prompt=talk, claims=[claim]))


def test_readings_from_inside_stand_in_their_order_each_with_its_depth() -> None:
    items = [Item(f" t{layer}", float(-layer), part=f"blocks.{layer}.output") for layer in range(30)]
    claim = Claim("logit_lens", "Read early.", [Item(" in", 9.0, part="blocks.0.input"), *items])
    rows = [label_of(item) for item, _, _ in rows_of(claim, 8)]
    assert rows[0] == "before block 0: in"
    assert rows[-1] == "after block 29: t29"
    assert rows == sorted(rows, key=lambda row: [int(n) for n in re.findall(r"block (\d+)", row)])
    assert len(rows) == 8


def test_an_explanation_is_plain_json() -> None:
    plain = json.loads(json.dumps(explained().plain()))
    assert plain["claims"][1]["test"]["p_value"] == pytest.approx(1 / 21)
    assert plain["claims"][1]["items"][1] == {
        "text": "iron.", "change": 3.0, "start": 3, "stop": 9, "message": None, "part": None, "is_named": True,
    }  # fmt: skip
