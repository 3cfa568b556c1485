"""What the page on Python shows of sources, loaded models and callbacks runs as it is shown, on less text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

import gptsmith

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
SMALL = {"model": {"embed_dim": 16, "num_layers": 1, "num_heads": 2, "context_length": 96}, "tokenizer.kind": "bytes"}
BUDGET = {"train.batch_size": 2, "train.device": "cpu"}
ROWS = [
    {"text": f"{n}: {'Great!' if n % 2 else 'Never again.'}", "label": "good" if n % 2 else "bad"} for n in range(30)
]


def test_the_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("My texts.txt").write_text("The smith forges a hammer in the town. " * 60)
    Path("held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:10]))
    pretrain, finetune = gptsmith.pretrain, gptsmith.finetune

    def shorter_pretrain(*given: Any, minutes: float = 0, tokens: str = "", settings: Any = (), **more: Any) -> Any:
        return pretrain(*given, tokens=600, settings=[SMALL, BUDGET, settings], **more)

    def shorter_finetune(base: str, rows: Any, **more: Any) -> Any:
        rows = rows + ROWS if rows[0].keys() == ROWS[0].keys() and isinstance(rows, list) else rows
        return finetune(base, rows, settings=[BUDGET, "train.num_steps=2"], **more)

    shorter_pretrain("My texts.txt", out="runs/mine")
    turns = [{"question": f"{n}?", "answer": f"The smith {n}."} for n in range(30)]
    shorter_finetune("runs/mine", turns, out="runs/mine-sft")
    monkeypatch.setattr(gptsmith, "pretrain", shorter_pretrain)
    monkeypatch.setattr(gptsmith, "finetune", shorter_finetune)
    shown = {
        "gptsmith": gptsmith,
        "articles": [SimpleNamespace(body=f"Town {n} has a smith. " * 9) for n in range(20)],
        "datasets": SimpleNamespace(load_dataset=lambda name, split: datasets.Dataset.from_list(ROWS)),
    }
    text = PAGE.read_text(encoding="utf-8")
    run = 0
    for heading in ("Sources and settings", "A loaded model", "Callbacks"):
        section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
        for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
            exec(compile(block, f"{PAGE.name}, {heading}", "exec"), shown)
            run += 1
    assert run == 5
