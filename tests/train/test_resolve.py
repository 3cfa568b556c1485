"""Settings are resolved in layers, to the values that they have always had."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.settings import fixed_settings
from gptsmith.train.planning import time_budget
from gptsmith.train.planning.throughput import Speed
from gptsmith.train.request import PretrainRequest
from gptsmith.train.resolve import Resolved, resolve_settings
from gptsmith.train.run_settings import FinetuneSettings, RunSettings


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text for which the expected values below were chosen."""
    chance, folder = random.Random(1), tmp_path_factory.mktemp("text")
    for number in range(3):
        lines = [
            f"The {chance.choice(['old', 'young'])} smith {chance.choice(['forges', 'sells', 'bends'])} "
            f"a {chance.choice(['nail', 'sword', 'plough'])} of {chance.choice(['iron', 'steel'])}."
            for _ in range(300)
        ]
        (folder / f"part{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def resolved(text: Path, **arguments: Any) -> Resolved:
    return resolve_settings(PretrainRequest(sources=[text], **arguments))


@pytest.mark.parametrize(
    ("arguments", "model", "train"),
    [
        ({}, (312, 256, 128, 4, 2), (4, 285)),
        ({"tokens": 50_000, "params": 100_000}, (312, 256, 128, 4, 2), (4, 49)),
        (
            {"settings": ["train.num_steps=12", "train.batch_size=3", "train.optimizer=adamw"]},
            (312, 256, 128, 4, 2),
            (3, 12),
        ),
        ({"minutes": 3, "params": 300_000, "tokenizer": "bytes"}, (259, 256, 128, 4, 2), (4, 600)),
    ],
    ids=["default", "tokens", "steps", "minutes"],
)
def test_values_are_those_of_version_0_1(
    text: Path,
    arguments: dict[str, Any],
    model: tuple[int, ...],
    train: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time_budget, "measured_speed", lambda *_: Speed(((7e6, 5e-6, 0.0), (1e9, 5e-4, 0.0))))
    settings = resolved(text, **arguments).settings
    shape = settings.model
    assert (shape.vocab_size, shape.context_length, shape.embed_dim, shape.num_layers, shape.num_heads) == model
    assert (settings.train.batch_size, settings.train.num_steps) == train


def test_every_value_says_which_layer_it_came_from(text: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nseed = 3\nbatch_size = 4\n", encoding="utf-8")
    found = resolved(text, config=file, tokenizer="bytes", target_loss=2.0, settings=["train.batch_size=2"])
    assert found.origins["model.context_length"] == "the preset smith"
    assert found.origins["model.vocab_size"] == "the tokenizer"
    assert found.origins["model.embed_dim"] == found.origins["train.num_steps"] == "the plan"
    assert found.origins["train.seed"] == str(file)
    assert found.origins["tokenizer.kind"] == "--tokenizer"
    assert found.origins["train.target_loss"] == "--target-loss"
    assert found.origins["train.batch_size"] == "--set"
    assert (found.settings.train.seed, found.settings.train.batch_size) == (3, 2)


def test_an_error_says_which_layer_the_value_came_from(text: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nbatch_size = -1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"train\.batch_size: .*given: -1, from .*mine\.toml"):
        resolved(text, config=file)
    with pytest.raises(ConfigurationError, match=r"train\.batch_size: .*given: -2, from --set"):
        resolved(text, config=file, settings=["train.batch_size=-2"])


def test_the_fixed_settings_of_a_run_are_marked_in_their_classes() -> None:
    shared = {"model", "data", "train.seed", "train.batch_size", "train.objective", "train.private"}
    assert set(fixed_settings(RunSettings)) == shared | {"tokenizer"}
    assert set(fixed_settings(FinetuneSettings)) == shared | {"examples"}
