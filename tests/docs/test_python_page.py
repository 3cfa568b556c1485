"""Every block of the page on Python runs as it is shown, on less text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

import gptsmith

from ..test_shown_commands import write_data

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
SMALL = {"model": {"embed_dim": 16, "num_layers": 1, "num_heads": 2, "context_length": 96}, "tokenizer.kind": "bytes"}
BUDGET = {"train.batch_size": 2, "train.device": "cpu"}
ROWS = [
    {"text": f"{n}: {'Great!' if n % 2 else 'Never again.'}", "label": "good" if n % 2 else "bad"} for n in range(30)
]


@pytest.mark.story
def test_the_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("My texts.txt").write_text("The smith forges a hammer in the town. " * 60)
    Path("held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:10]))
    pretrain, finetune = gptsmith.pretrain, gptsmith.finetune

    def shorter_pretrain(*given: Any, minutes: float = 0, tokens: Any = 0, settings: Any = (), **more: Any) -> Any:
        if "resume" in more:
            return pretrain(tokens=1200, **more)
        return pretrain(*given, tokens=600, settings=[SMALL, BUDGET, settings], **more)

    def shorter_finetune(base: str, rows: Any, **more: Any) -> Any:
        is_two_rows = isinstance(rows, list) and isinstance(rows[0], dict) and "label" in rows[0]
        more.pop("epochs", None)
        rollouts = {"train.objective.group_size": 2, "train.objective.max_tokens": 2} if "reward" in more else {}
        settings = [BUDGET, "train.num_steps=2", rollouts]
        return finetune(base, rows + ROWS if is_two_rows else rows, settings=settings, **more)

    write_data(tmp_path)
    turns = [{"question": f"{n}?", "answer": f"The smith {n}."} for n in range(30)]
    shorter_pretrain("My texts.txt", out="runs/base")
    shorter_finetune("runs/base", ROWS, out="runs/mine-classification")
    shorter_finetune("runs/base", turns, out="runs/tuned", lora=2)
    gptsmith.export("runs/base", to="huggingface", out="models/SmolLM2-135M")
    for module in ("question", "answer"):  # models of two steps hardly prefer any word
        monkeypatch.setattr(f"gptsmith.explain.{module}.LEAST_DIFFERENCE", 0.0)
    monkeypatch.setattr(gptsmith, "pretrain", shorter_pretrain)
    monkeypatch.setattr(gptsmith, "finetune", shorter_finetune)
    shown: dict[str, Any] = {
        "gptsmith": gptsmith,
        "articles": [SimpleNamespace(body=f"Town {n} has a smith. " * 9) for n in range(20)],
        "datasets": SimpleNamespace(load_dataset=lambda name, split: datasets.Dataset.from_list(ROWS)),
    }
    text = PAGE.read_text(encoding="utf-8")
    run = 0
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, f"{PAGE.name}: {block.splitlines()[0]}", "exec"), shown)
        run += 1
    assert run == text.count("```python") == 9
