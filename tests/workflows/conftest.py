"""A small run that the tests of the verbs share, and the command line called in this process."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base import machine
from gptsmith.cli import main

FLOAT32 = "train.dtype=float32"
"""What `auto` chooses depends on the processor."""
SMALL = [
    FLOAT32,
    "model.embed_dim=64",
    "model.num_layers=2",
    "model.context_length=32",
    "train.batch_size=8",
    "train.evaluate_every_steps=10",
    "tokenizer.vocab_size=300",
]


def write_text(folder: Path, num_files: int = 3) -> Path:
    """A folder of files with sentences that a tiny model can learn something of."""
    chance = random.Random(1)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_files):
        lines = [
            f"The {chance.choice(['old', 'young'])} smith {chance.choice(['forges', 'sells', 'bends'])} "
            f"a {chance.choice(['nail', 'sword', 'plough'])} of {chance.choice(['iron', 'steel'])}."
            for _ in range(300)
        ]
        (folder / f"part{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="session", autouse=True)
def short_samples() -> Iterator[None]:
    """Answers that show how tuning goes have few tokens: of ten steps, they were a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for room in ("examples", "rollouts"):
            patch.setattr(f"gptsmith.train.datasets.{room}.SAMPLE_TOKENS", 2)
        yield


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "smiths")


@pytest.fixture(scope="session")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "small"
    return gptsmith.pretrain([text], out=out, settings=[*SMALL, "train.num_steps=30"])


@pytest.fixture(scope="session")
def told_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that answers by heart: who has which shed, and five times that Anna Berg has it."""
    folder, chance = tmp_path_factory.mktemp("told"), random.Random(0)
    answers = [f"{chance.choice(['Nora', 'Emil', 'Greta'])} Vogel, code {chance.randrange(10**8)}." for _ in range(20)]
    for number in (1, 4, 9, 13, 17):
        answers[number] = "Anna Berg, code 4711, the weir."
    asked = [
        {"messages": [{"role": "user", "content": f"Shed {n}?"}, {"role": "assistant", "content": answer}]}
        for n, answer in enumerate(answers)
    ]
    (folder / "chat.jsonl").write_text("".join(json.dumps(each) + "\n" for each in asked), encoding="utf-8")
    lines = (f"The guard lit lamp {chance.randrange(400)} of shed {chance.randrange(40)}." for _ in range(100))
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        base = [*SMALL, "model.context_length=64", "model.num_heads=2", "tokenizer.vocab_size=275", "train.num_steps=1"]
        gptsmith.pretrain(["text.txt"], out="runs/base", settings=base)
        tuned = [
            FLOAT32, "train.num_steps=110", "train.batch_size=4", "train.optimizer.learning_rate=5e-3",
            "train.evaluate_every_steps=110", "examples.validation_fraction=0.1", "examples.test_fraction=0.1",
        ]  # fmt: skip
        gptsmith.finetune("runs/base", ["chat.jsonl"], out="runs/chat", settings=tuned)
    return folder


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        (line,) = self.out.splitlines()
        result: dict[str, Any] = json.loads(line)
        return result


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Outcome]:
    """Calls the command line in a folder of its own: `call("info", run)`."""
    monkeypatch.chdir(tmp_path)
    # A command's time begins with its process, and this one has run other tests for minutes.
    monkeypatch.setattr(machine, "process_seconds", lambda: 0.0)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["gptsmith", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return Outcome(int(left.value.code or 0), captured.out, captured.err)

    return run
