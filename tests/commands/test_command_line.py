"""The command line: its help, its errors, its completion, and the names in Python."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

import gptsmith
from gptsmith.cli import PANELS, VERBS, app, main
from gptsmith.train.plan_request import PlanRequest
from gptsmith.train.request import FinetuneRequest, PretrainRequest
from gptsmith.workflows.model_requests import (
    CertifyRequest,
    CompressRequest,
    ExportRequest,
    ImportModelRequest,
    InfoRequest,
    MergeRequest,
)
from gptsmith.workflows.requests import EvaluateRequest

ON_THE_COMMAND_LINE_ONLY = {"watch"}


def shown(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and the output of a command at 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "argv", ["gptsmith", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out + captured.err


def test_help_groups_the_verbs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = shown(["--help"], monkeypatch, capsys)
    assert code == 0
    assert len(text.splitlines()) < 60
    places = [text.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    assert all(f"│ {verb} " in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_is_short_grouped_and_has_two_examples(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = shown([verb, "--help"], monkeypatch, capsys)
    assert code == 0
    assert len(text.splitlines()) < 60
    assert "--json" in text
    examples = text.partition("Examples")[2].split("\n")
    assert len([line for line in examples if line.strip().startswith(f"gptsmith {verb}")]) == 2
    options = typer.main.get_command(app).get_command(None, verb).params  # type: ignore[attr-defined]
    assert all(parameter.help for parameter in options)
    extras = re.findall(r"gptsmith\\?\[\w+\]", " ".join(parameter.help for parameter in options))
    assert all(extra.replace("\\", "") in text for extra in extras), "Rich takes it for a style"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["pretrain", "x", "--until-loss", "2"], "no such option: --until-loss (did you mean --target-loss?)"),
        (["serve", "x", "--max-streams", "2"], "no such option: --max-streams (did you mean --max-num-seqs?)"),
        (["serve", "x", "--max-waiting", "2"], "no such option: --max-waiting (did you mean --max-queue-size?)"),
        (["evaluate", "x", "--harness", "y"], "no such option: --harness (did you mean --lm-eval?)"),
        (["generate", "x", "--temprature", "1"], "no such option: --temprature (did you mean --temperature?)"),
        (["certify", "x"], "Missing argument 'OTHER' (see gptsmith certify --help)"),
        (["pretrain", "x", "--minutes", "-1"], "a time of -1 minutes trains nothing"),
        (["pretrain", "x", "--minutes", "1", "--hours", "1"], "were both given"),
        (["finetune", "x", "y", "--lora", "0"], "lora: must be greater than 0 (given: 0, from --lora)"),
        (["evaluat", "x"], "did you mean evaluate?"),
        (["train", "x"], "no such verb: train (did you mean pretrain or finetune?)"),
        (["quantize", "x"], "no such verb: quantize (did you mean compress?)"),
        (["rm", "x"], "no such verb: rm (a run is a folder: delete it as any other)"),
        (["pretrain", "x", "--lr", "1"], "no such option: --lr (did you mean --learning-rate?)"),
        (["pretrain", "x", "--block_size", "1"], "no such option: --block_size (did you mean --context-length?)"),
        (["pretrain", "x", "--n-layer", "1"], "no such option: --n-layer (did you mean --set model.num_layers=...?)"),
        (["finetune", "x", "y", "--lora-r", "1"], "no such option: --lora-r (did you mean --lora?)"),
        (["generate", "x", "--max-new-tokens", "1"], "no such option: --max-new-tokens (did you mean --max-tokens?)"),
        (["pretrain", "x", "--max-steps", "1", "--minutes", "1"], "--max-steps and --minutes both say how long"),
        (["finetune", "x", "y", "--lora-alpha", "1"], "--lora-alpha scales LoRA adapters"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = shown(arguments, monkeypatch, capsys)
    assert code == 2
    assert len(text.splitlines()) == 1
    assert text.startswith("gptsmith: ")
    assert line in text


@pytest.mark.parametrize("verb", ["compress", "evaluate", "finetune"])
def test_a_verb_for_one_process_says_so_under_torchrun(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [verb, "x", "y", "--nothing"]
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "_exit", sys.exit)
    code, text = shown(arguments, monkeypatch, capsys)
    assert code == 2
    refusal = f"{verb} runs in one process: leave torchrun out (pretrain and finetune train in several)"
    assert text.strip() == f"gptsmith: {refusal}" if verb != "finetune" else "no such option: --nothing" in text
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")  # somebody else's variables
    assert "no such option" in shown(arguments, monkeypatch, capsys)[1]


@pytest.mark.parametrize(
    ("shell", "line", "expected"),
    [
        ("bash", "gptsmith fine", "finetune"),
        ("bash", "gptsmith pretrain --target", "--target-loss"),
        ("zsh", "gptsmith ser", '"serve":'),
        ("zsh", "gptsmith serve --max-num", '"--max-num-seqs":'),
    ],
)
def test_completion_knows_verbs_and_options_and_imports_no_torch(shell: str, line: str, expected: str) -> None:
    environment = {
        "_GPTSMITH_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
        "_TYPER_COMPLETE_ARGS": line,
    }
    code = (
        f"import os, sys; os.environ.update({environment!r})\n"
        "from gptsmith.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *completions, has_torch = done.stdout.splitlines()
    assert expected in "\n".join(completions)
    assert has_torch == "False"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_can_be_installed(shell: str, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "gptsmith", "--install-completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    scripts = [path for path in tmp_path.rglob("*") if path.is_file() and "_GPTSMITH_COMPLETE" in path.read_text()]
    assert len(scripts) == 1


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(gptsmith, name) is not None for name in gptsmith.__all__)
    assert sorted(gptsmith.__all__) == sorted(set(gptsmith.__all__))


def test_every_verb_is_a_function_in_python() -> None:
    names = {"import_model" if verb == "import" else verb for verb in VERBS} - ON_THE_COMMAND_LINE_ONLY
    assert names <= set(gptsmith.__all__)


def test_a_room_does_not_hide_the_verb_of_its_name() -> None:
    import_module("gptsmith.evaluate.perplexity")
    import_module("gptsmith.compress")
    assert callable(gptsmith.evaluate)
    assert callable(gptsmith.compress)


@pytest.mark.parametrize(
    ("verb", "request_class"),
    [
        ("pretrain", PretrainRequest), ("plan", PlanRequest), ("finetune", FinetuneRequest),
        ("evaluate", EvaluateRequest), ("compress", CompressRequest), ("merge", MergeRequest),
        ("import_model", ImportModelRequest), ("export", ExportRequest), ("certify", CertifyRequest),
        ("info", InfoRequest),
    ],
)  # fmt: skip
def test_arguments_in_python_are_the_fields_of_the_request(verb: str, request_class: type) -> None:
    parameters = inspect.signature(getattr(gptsmith, verb)).parameters
    assert parameters.keys() == request_class.model_fields.keys()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ...")],
)
def test_too_little_memory_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr("gptsmith.cli.app", fail)
    code, text = shown(["info", "x"], monkeypatch, capsys)
    assert (code, len(text.splitlines())) == (2, 1)
    assert "too little memory" in text
