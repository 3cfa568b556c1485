"""`serve --no-recital`: every route is guarded, and the banner says so."""

from __future__ import annotations

from pathlib import Path

import gptsmith
from tests.serve.conftest import serving

NUM_TOKENS = 5
GREEDY = {"temperature": 0, "max_tokens": 16}


def test_every_route_is_guarded_and_choices_too(runs: Path) -> None:
    expected = gptsmith.generate(runs / "base", "The old smith", no_recital=NUM_TOKENS, **GREEDY)["text"]
    plain = gptsmith.generate(runs / "base", "The old smith", **GREEDY)["text"]
    assert expected != plain
    with serving([str(runs / "base"), str(runs / "labels")], no_recital=NUM_TOKENS) as running:
        client = running.client()
        made = client.completions.create(model="base", prompt="The old smith", n=2, **GREEDY)
        assert [choice.text for choice in made.choices] == [expected, expected]
        body = {"model": "base", "prompt": "The old smith", "stream": False, "raw": True}
        answer = running.ask("POST", "/api/generate", {**body, "options": {"temperature": 0, "num_predict": 16}})
        assert answer.json["response"] == expected
