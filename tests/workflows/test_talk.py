"""The terminal's conversation: said again, begun otherwise, saved."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from tests.workflows.conftest import Outcome


@pytest.fixture(scope="module")
def chat_run(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("talk")
    rows = [{"prompt": f"{n}?", "response": f"{n}."} for n in range(40)]
    (folder / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tuned = gptsmith.finetune(
        trained["run"], [folder / "talk.jsonl"], out=folder / "run", settings=["train.num_steps=4"]
    )
    return str(tuned["run"])


def talked(call: Callable[..., Outcome], patch: pytest.MonkeyPatch, run: str, *lines: str) -> Outcome:
    patch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    return call("chat", run, "--max-tokens", 4, "--temperature", 1.5, "--json")


def test_a_reply_can_be_had_again_and_the_conversation_saved(
    chat_run: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcome = talked(
        call,
        monkeypatch,
        chat_run,
        "3?",
        "/regenerate",
        "/save talk.jsonl",
        "/save talk.jsonl",
        "/save talk.md",
        "/quit",
    )
    assert outcome.code == 0, outcome.err
    first, second = (json.loads(line) for line in outcome.out.splitlines())
    assert (first["prompt"], second["prompt"]) == ("3?", "3?")
    saved = json.loads((tmp_path / "talk.jsonl").read_text())["messages"]
    assert saved == [{"role": "user", "content": "3?"}, {"role": "assistant", "content": second["text"]}]
    assert "exists already" in outcome.err
    assert "**user**" in (tmp_path / "talk.md").read_text()


def test_a_system_prompt_starts_afresh(
    chat_run: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcome = talked(call, monkeypatch, chat_run, "1?", "/system Be", "/regenerate", "/save talk.jsonl", "/help")
    assert "nothing was said yet" in outcome.err
    assert "/regenerate" in outcome.err
    saved = json.loads((tmp_path / "talk.jsonl").read_text())["messages"]
    assert saved == [{"role": "system", "content": "Be"}]


def test_a_base_model_takes_no_system_prompt_and_goes_on_otherwise(
    trained: dict[str, Any], call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcome = talked(call, monkeypatch, trained["run"], "/system Be", "The old", "/regenerate", "/save text.jsonl")
    assert "tuned on conversations" in outcome.err
    turns = [json.loads(line) for line in outcome.out.splitlines()]
    assert json.loads((tmp_path / "text.jsonl").read_text())["text"] == "The old" + turns[1]["text"]
