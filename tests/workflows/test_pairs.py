"""Pairs from documents: what a model writes is checked, kept as JSON lines that fine-tuning reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.data.shapes.chat import ChatShape
from gptsmith.generate.api import Completion, generate_batch_with
from gptsmith.generate.engine import Engine
from gptsmith.generate.request import Constraint
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.workflows import pairs as verb

from ..retrieval.conftest import FORGE
from .conftest import Outcome

WRITTEN = (
    "Question: Which parish are the notes of, in Tolver or elsewhere?\nAnswer: Tolver",
    "Question: Who opened the forge in 1873?\nAnswer: Aldric Penhallow",
    "Question: How much did a horseshoe and a ploughshare cost?\nAnswer: four pounds",
    "Question: What was",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "forge.md").write_text(FORGE, encoding="utf-8")
    (folder / "tide.txt").write_text("The tide mill at Tolver ran by night, too.", encoding="utf-8")
    return folder


def test_pairs_are_checked_and_written_for_fine_tuning(
    told_chat: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Outcome]
) -> None:
    def write(engine: Any, prompts: list[list[int]], **options: Any) -> list[Completion]:
        assert len(prompts) == len(WRITTEN)
        assert len(options["constraints"]) == len(prompts)
        return [Completion([], text) for text in WRITTEN]

    monkeypatch.setattr(verb, "generate_batch_with", write)
    monkeypatch.setattr(verb, "MAX_TOKENS", -5000)  # as if the context were so much longer
    figures = call("pairs", told_chat / "runs/chat", folder, "--out", "made.jsonl", "--json").object
    assert figures == {
        "out": "made.jsonl",
        "num_passages": 4,
        "num_pairs": 1,
        "dropped": {
            "the question has the answer in it": 1,
            "the answer is not in the passage": 1,
            "nothing is asked or answered": 1,
        },
        "skipped": {},
    }
    (row,) = map(json.loads, Path("made.jsonl").read_text(encoding="utf-8").splitlines())
    assert (row["question"], row["answer"]) == ("Who opened the forge in 1873?", "Aldric Penhallow")
    assert row["source"] == "forge.md, line 5, The forge > Steel"
    assert row["passage"].startswith("## Steel")
    assert [turn["content"] for turn in ChatShape().example(row, "line 1").messages] == [row["question"], row["answer"]]
    again = call("pairs", told_chat / "runs/chat", folder, "--out", "made.jsonl")
    assert again.code == 2
    assert "made.jsonl exists already" in again.err


def test_a_batch_is_written_in_a_form_and_passages_without_room_are_named(
    told_chat: Path, folder: Path, tmp_path: Path
) -> None:
    loaded = gptsmith.load(told_chat / "runs/chat", device="cpu")
    form = Constraint("regex", "[ab]{3}\nc+d")
    engine = Engine(loaded.model, loaded.tokenizer)
    prompts = [loaded.tokenizer.encode(text) for text in ("a", "the smith")]
    texts = generate_batch_with(
        engine, prompts, max_tokens=30, sampling=SamplingSettings(temperature=0), seeds=[1, 2], constraints=[form, form]
    )
    assert all(re.match("[ab]{3}\nc", completion.text) for completion in texts)
    figures = gptsmith.pairs(told_chat / "runs/chat", [folder], out=tmp_path / "made.jsonl", limit=2, device="cpu")
    assert (figures["num_passages"], figures["num_pairs"], figures["dropped"]) == (2, 0, {verb.NO_ROOM: 2})


def test_what_cannot_be_done_is_said(
    trained: dict[str, Any], told_chat: Path, folder: Path, call: Callable[..., Outcome]
) -> None:
    base = call("pairs", trained["run"], folder, "--out", "made.jsonl")
    assert "is a base model" in base.err
    inside = call("pairs", told_chat / "runs/chat", folder, "--out", folder / "made.jsonl")
    assert "would be read as one of its texts" in inside.err
    assert {base.code, inside.code} == {2}
