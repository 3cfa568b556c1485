"""Every verb that needs a run's text finds it from another folder, and where run and text were moved together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.serve.example_prompts import first_prompts
from gptsmith.serve.load import trained_on
from tests.workflows.conftest import SMALL, Outcome, write_text

REWARD = "def short(messages, completion, answer):\n    return 1 / (1 + len(completion))\n"
GRPO = [
    "train.objective.reward=rewards.py:short", "train.objective.group_size=2", "train.objective.max_tokens=4",
    "train.num_steps=2", "train.batch_size=2", "train.dtype=float32",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose runs were all made with relative paths, in it."""
    project = tmp_path_factory.mktemp("made") / "project"
    write_text(project / "text")
    pairs = [{"prompt": f"Who forges nail {n}?", "completion": "The old smith."} for n in range(40)]
    (project / "chat.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    (project / "rewards.py").write_text(REWARD, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        steps = [*SMALL, "model.context_length=64", "train.num_steps=4", "checkpoint.every_steps=2"]
        gptsmith.pretrain(["text"], out="runs/base", settings=steps)
        given = [step for step in steps if not step.startswith("tokenizer.")]
        gptsmith.pretrain(
            ["text/part[12].txt"], validation=["text/part0.txt"], out="runs/own-tokens", settings=given,
            tokenizer="runs/base",
        )  # fmt: skip
        gptsmith.finetune("runs/base", ["chat.jsonl"], out="runs/sft", settings=["train.num_steps=2"], lora=2)
        gptsmith.finetune("runs/sft", ["chat.jsonl"], out="runs/grpo", objective="grpo", settings=GRPO)
        gptsmith.finetune("runs/base", ["text/part1.txt"], out="runs/distilled", objective="distillation",
                          settings=["train.objective.teacher=runs/base", "train.num_steps=2"])  # fmt: skip
        gptsmith.compress("runs/base", to="int8", out="smaller/base-int8")
        gptsmith.merge("runs/sft", out="smaller/sft-merged")
    return project


@pytest.fixture(params=["from elsewhere", "moved together"])
def project(
    request: pytest.FixtureRequest, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    if request.param == "from elsewhere":
        yield made
        return
    copy = shutil.copytree(made, tmp_path / "gone" / "elsewhere")
    hidden = made.rename(made.with_name("hidden"))
    yield copy
    hidden.rename(made)


def unfinished(run: Path) -> Path:
    """A copy of a run beside it, as if it had been stopped."""
    shutil.rmtree(run.with_name(f"{run.name}-unfinished"), ignore_errors=True)
    copy = shutil.copytree(run, run.with_name(f"{run.name}-unfinished"))
    (copy / "result.json").unlink(missing_ok=True)
    return copy


@pytest.mark.parametrize("name", ["runs/base", "runs/own-tokens", "smaller/base-int8"])
def test_evaluate(project: Path, name: str) -> None:
    assert gptsmith.evaluate(project / name)["num_bytes"] > 100


@pytest.mark.parametrize("name", ["runs/sft", "runs/grpo", "smaller/sft-merged"])
def test_evaluate_on_the_text_of_the_base(project: Path, name: str) -> None:
    assert gptsmith.evaluate(project / name)["num_bytes"] > 100


@pytest.mark.parametrize("name", ["runs/base", "runs/own-tokens"])
def test_resume_a_pretrained_run(project: Path, name: str) -> None:
    figures = gptsmith.pretrain(resume=unfinished(project / name), tokens=6 * 8 * 64)
    assert (figures["status"], figures["step"]) == ("finished", 6)


@pytest.mark.parametrize("name", ["sft", "grpo", "distilled"])
def test_resume_a_tuned_run(project: Path, name: str) -> None:
    run = unfinished(project / "runs" / name)
    given = ["train.num_steps=3"]
    if name == "grpo":
        with pytest.raises(
            UserError, match=r"rewards\.py is Python code that the settings name and this command does not"
        ):
            gptsmith.finetune(resume=run, settings=given)
        given.append(f"train.objective.reward={project}/rewards.py:short")
    figures = gptsmith.finetune(resume=run, settings=given)
    assert (figures["status"], figures["step"]) == ("finished", 3)
    assert name != "sft" or figures["general_bits_per_byte"] > 0


def test_a_file_of_settings_that_names_code_is_not_trusted(made: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(made)
    (made / "sent.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{REWARD}", encoding="utf-8")
    sent = tmp_path / "run.toml"
    text = (made / "runs" / "grpo" / "run.toml").read_text(encoding="utf-8")
    sent.write_text(text.replace("rewards.py:short", "sent.py:short"), encoding="utf-8")
    for given in ([], ["train.objective.reward=number"], ["train.objective.reward=rewards.py:short"]):
        with suppress(UserError):
            gptsmith.finetune(
                "runs/sft", ["chat.jsonl"], out=tmp_path / f"out{len(given)}", objective="grpo", config=sent,
                settings=[*given, "train.num_steps=1"],
            )  # fmt: skip
        assert not (tmp_path / "ran").exists()


def test_compress_compares_on_the_text(project: Path, tmp_path: Path) -> None:
    assert (
        gptsmith.compress(project / "runs" / "base", to="int8", out=tmp_path / "c")["compared_on"] == "validation text"
    )
    assert gptsmith.merge(project / "runs" / "sft", out=tmp_path / "m")["compared_on"] == "base's validation text"


def test_the_page_has_prompts_and_knows_the_text(project: Path) -> None:
    for name in ("base", "sft"):
        run = gptsmith.load(project / "runs" / name).run
        assert len(first_prompts(run)) == 3
        assert trained_on(run) == ("text" if name == "base" else "text, tuned on chat.jsonl")


def test_the_same_words_in_another_folder_do_not_resume_another_text(
    made: Path, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = unfinished(made / "runs" / "base")
    write_text(tmp_path / "text", num_files=1)
    options = [
        part
        for setting in [*SMALL, "model.context_length=64", "train.num_steps=4", "checkpoint.every_steps=2"]
        for part in ("--set", setting)
    ]
    outcome = call("pretrain", "text", "--out", run, *options)
    assert outcome.code == 2
    assert "exists already" in outcome.err


def test_the_same_command_resumes_from_the_folder_where_it_began(
    made: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Outcome]
) -> None:
    unfinished(made / "runs" / "sft")
    monkeypatch.chdir(made)
    figures = gptsmith.finetune(
        "runs/base", ["chat.jsonl"], out="runs/sft-unfinished", settings=["train.num_steps=2"], lora=2
    )
    assert (figures["status"], figures["step"]) == ("finished", 2)
