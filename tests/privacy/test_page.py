"""The page of an audit: what was found is behind a click."""

from __future__ import annotations

import re

from gptsmith.privacy.page import audit_page


def test_passages_of_checkpoints_that_are_not_served_are_folded() -> None:
    passage = {"text": "the door code is 4711", "num_tokens": 12, "num_copies": 2, "tries": 3.0}
    checkpoints = [
        {"step": 10, "is_served": True, "num_passages": 0, "passages": [], "num_answers": 0, "answers": []},
        {"step": 1_200, "is_served": False, "num_passages": 7, "passages": [passage], "num_answers": 0, "answers": []},
    ]
    lists = {key: list[str]() for key in ("passages", "near_passages", "answers", "held_out", "tokenizer_words")}
    found = {"run": "runs/mine", "says": "", **lists}
    page = audit_page({**found, "checkpoints": checkpoints})
    assert "Step 1,200: 7 passages, the longest 1" in page
    assert "Step 10" not in page
    assert "4711" in page
    assert "4711" not in re.sub(r"<details>.*</details>", "", page, flags=re.DOTALL)
    assert "<details open" not in page
