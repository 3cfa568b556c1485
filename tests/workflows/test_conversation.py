"""The terminal's conversation: said again, begun otherwise, saved."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.generate.detokenizer import Detokenizer
from gptsmith.generate.engine import Engine
from gptsmith.generate.request import OutputChunk
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
    assert "there is no message yet" in outcome.err
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


def test_what_was_said_is_kept_when_the_context_has_no_room_for_it(
    chat_run: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = [f"{number}?" for number in range(6)]
    outcome = talked(call, monkeypatch, chat_run, *said, "/save talk.jsonl")
    assert len(outcome.out.splitlines()) == 6, outcome.err
    saved = json.loads((tmp_path / "talk.jsonl").read_text())["messages"]
    assert [turn["content"] for turn in saved if turn["role"] == "user"] == said


@pytest.mark.parametrize("words", ["word " * 100, "\udcff"])
def test_what_cannot_be_said_changes_nothing(
    chat_run: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str
) -> None:
    outcome = talked(call, monkeypatch, chat_run, "1?", words, "/regenerate", "/save talk.jsonl")
    assert "shorter message" in outcome.err or "no character" in outcome.err
    _, second = (json.loads(line) for line in outcome.out.splitlines())
    assert second["prompt"] == "1?"
    saved = json.loads((tmp_path / "talk.jsonl").read_text())["messages"]
    assert saved == [{"role": "user", "content": "1?"}, {"role": "assistant", "content": second["text"]}]


def test_a_base_model_forgets_a_line_that_is_no_text(
    trained: dict[str, Any], call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = talked(call, monkeypatch, trained["run"], "The old", "\udcff", "")
    assert "no character" in outcome.err
    assert len(outcome.out.splitlines()) == 2


def test_a_misspelt_command_is_not_said_to_the_model(
    chat_run: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = talked(call, monkeypatch, chat_run, "/regenrate", "   ", " /new is?", "/usr/bin?")
    assert "did you mean /regenerate?" in outcome.err
    assert [json.loads(line)["prompt"] for line in outcome.out.splitlines()] == [" /new is?", "/usr/bin?"]


def test_ctrl_c_ends_a_reply_and_keeps_what_there_is_of_it(
    chat_run: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: Any) -> Iterator[OutputChunk]:
        yield OutputChunk("half a ")
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "stream", interrupted)
    outcome = talked(call, monkeypatch, chat_run, "1?", "/save talk.jsonl")
    assert (outcome.code, json.loads(outcome.out)["finish_reason"]) == (0, "interrupted")
    saved = json.loads((tmp_path / "talk.jsonl").read_text())["messages"]
    assert saved[-1] == {"role": "assistant", "content": "half a "}


def test_ctrl_c_before_a_reply_does_not_end_the_program(
    chat_run: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: Iterator[str | None] = iter(["1?", None])

    def read_line() -> str | None:
        line = next(lines)
        if line is not None:
            raise KeyboardInterrupt
        return line

    monkeypatch.setattr("gptsmith.base.terminal.read_line", read_line)
    assert call("chat", chat_run).code == 0


def test_an_engine_that_fails_leaves_the_conversation_whole(
    chat_run: str, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        Engine,
        "stream",
        lambda *_: iter([OutputChunk("half"), OutputChunk(finish_reason="error", failure=ValueError("odd"))]),
    )
    outcome = talked(call, monkeypatch, chat_run, "1?", "/save talk.jsonl")
    assert "generation failed: ValueError: odd" in outcome.err
    saved = json.loads((tmp_path / "talk.jsonl").read_text())["messages"]
    assert [turn["role"] for turn in saved] == ["user", "assistant"]


def test_a_classifier_writes_nothing(
    trained: dict[str, Any], call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [{"text": f"The {label} {number}", "label": label} for number in range(20) for label in ("nail", "sword")]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    quick = ["train.num_steps=2", "train.batch_size=2"]
    tuned = gptsmith.finetune(trained["run"], [tmp_path / "labels.jsonl"], out=tmp_path / "classes", settings=quick)
    for verb, *more in (["chat"], ["generate", "The"]):
        outcome = call(verb, tuned["run"], *more)
        assert outcome.code == 2
        assert "gptsmith predict" in outcome.err


def test_what_is_generated_cannot_do_anything_to_a_terminal(
    trained: dict[str, Any], call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detokenizer, "feed", lambda *_, **__: "\x1b[2J")
    assert "\x1b[2J" in call("generate", trained["run"], "The", "--max-tokens", 1).out
    monkeypatch.setattr("gptsmith.base.terminal.visible", lambda text: text.replace("\x1b", "␛"))
    assert "␛[2J" in call("generate", trained["run"], "The", "--max-tokens", 1).out


IN_A_TERMINAL = """
import os, pty, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background may have it ignored
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""
PROMPT = b"> \x1b[0m"


def test_a_terminal_is_talked_at(chat_run: str) -> None:
    command = [sys.executable, "-m", "gptsmith", "chat", chat_run, "--device", "cpu", "--max-tokens", "4"]
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, *command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    with process:
        assert process.stdin
        assert process.stdout
        typed, shown = process.stdin.fileno(), process.stdout.fileno()

        left = b""

        def until(words: bytes, again: bytes = b"") -> None:
            """Waits until the terminal has shown words. `again` is typed for as long as nothing comes: a signal may
            come before anything waits for it."""
            nonlocal left
            deadline = time.monotonic() + 120
            while words not in left:
                if select.select([shown], [], [], 2)[0]:
                    left += os.read(shown, 4096)
                else:
                    assert time.monotonic() < deadline, left
                    os.write(typed, again)
            left = left.partition(words)[2]

        try:
            until(PROMPT)
            os.write(typed, b"3?\n")
            until(b"cut off after 4 tokens")
            until(PROMPT)
            os.write(typed, b"/system Br")
            until(b"Br")
            os.write(typed, b"\x03")
            until(PROMPT, again=b"\x03")
            os.write(typed, b"/hell\x7fp\n")
            until(b"/regenerate       generate another")
            # More than a terminal takes for a line by itself.
            os.write(typed, b"word " * 1000 + b"\n")
            until(b"send a shorter message")
            until(PROMPT)
            os.write(typed, b"\x04")
            assert process.wait(60) == 0
        finally:
            process.kill()
