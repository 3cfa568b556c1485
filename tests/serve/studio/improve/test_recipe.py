"""Which objective learns from which marks, and with which settings."""

from __future__ import annotations

import pytest

from gptsmith.model.presets import preset
from gptsmith.serve.studio.improve.recipe import Available, available, recipe

SMALL = preset("gpt1", embed_dim=64, num_heads=2, num_layers=2, vocab_size=1000)


@pytest.mark.parametrize(
    ("found", "objective"),
    [
        (Available(), None),
        (Available(edits=19, thumbs_up=19, choices=19), None),
        (Available(edits=20), "sft"),
        (Available(choices=20), "dpo"),
        (Available(thumbs_up=15, thumbs_down=5), "kto"),
        (Available(thumbs_up=60), None),  # nothing to compare them with
        (Available(edits=20, choices=20), "sft"),
        (Available(edits=20, choices=21), "dpo"),
        (Available(thumbs_up=20, thumbs_down=20, choices=20), "dpo"),
        (Available(thumbs_up=20, thumbs_down=21, choices=20), "kto"),
        (Available(thumbs_up=40, thumbs_down=40, choices=19), "kto"),
    ],
)
def test_the_objective_is_that_of_the_marks_that_say_most(found: Available, objective: str | None) -> None:
    assert found.objective() == objective


def test_the_marks_that_are_missing_are_named_by_sort() -> None:
    assert Available(choices=12).missing() == {"edits": 20, "thumbs": 20, "choices": 8}
    assert Available(thumbs_up=18, thumbs_down=2).missing()["thumbs"] == 3
    rows = [
        {"model": "chat", "kind": "thumb", "verdict": "up", "count": 3},
        {"model": "chat", "kind": "choice", "verdict": "first", "count": 2},
        {"model": "chat", "kind": "choice", "verdict": "second", "count": 2},
        {"model": "chat", "kind": "choice", "verdict": "neither", "count": 9},
        {"model": "other", "kind": "edit", "verdict": "edited", "count": 9},
    ]
    assert available(rows, "chat") == Available(thumbs_up=3, choices=4)


def test_small_models_learn_with_all_weights_and_large_ones_by_adapters() -> None:
    small = recipe("kto", 60, 50, SMALL)
    large = recipe("kto", 60, 50, preset("gpt2"))
    assert small.lora is None
    assert large.lora == 8
    assert "train.max_forgetting=0.1" in small.arguments()
    assert recipe("dpo", 20, 4, preset("gpt2")).is_validated is False
    assert recipe("dpo", 3000, 3000, preset("gpt2")).epochs == 2
