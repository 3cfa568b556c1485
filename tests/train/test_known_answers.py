"""The base's own answers to general prompts, compared with those of the tuned model."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.runlog import RunLog
from gptsmith.convert.load import Loaded
from gptsmith.generate.api import generate_batch
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.train.datasets.base import KnownAnswers
from gptsmith.train.forgetting import own_text
from gptsmith.train.known_answers import ANSWER_TOKENS, BEGINNINGS, QUESTIONS, general_questions, known_answers
from tests.convert.folders import write_model
from tests.workflows.conftest import FLOAT32, SMALL, write_text


@pytest.fixture(scope="module")
def chat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a chat template that somebody else has made."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    write_model("llama3", folder)
    return folder


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "talk.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}?", "response": f"It is {n}."}) + "\n" for n in range(40)))
    return path


def known_to(base: Loaded) -> KnownAnswers:
    found = known_answers(base, base.model, own_text(base))
    assert found is not None
    return found


def replies(base: Loaded) -> list[list[int]]:
    """The greedy answers to the general questions, generated token by token."""
    assert base.template is not None
    asked = [[{"role": "user", "content": row["question"]}] for row in general_questions()]
    prompts = [base.template.prompt_ids(base.tokenizer, messages) for messages in asked]
    sampling, seeds = SamplingSettings(temperature=0), [0] * len(prompts)
    found = generate_batch(
        base.model, base.tokenizer, prompts, max_tokens=ANSWER_TOKENS, sampling=sampling, seeds=seeds
    )
    return [each.ids for each in found]


def test_a_model_keeps_its_own_answers(chat_base: Path) -> None:
    base = gptsmith.load(chat_base)
    known = known_to(base)
    kept = known.kept(copy.deepcopy(base.model))
    assert (known.name, kept.num_answers, kept.num_kept, kept.agreement) == (QUESTIONS, 24, 24, 1.0)


@torch.no_grad()
def test_answers_that_another_model_gives_too_are_kept(chat_base: Path) -> None:
    base = gptsmith.load(chat_base)
    known, before = known_to(base), replies(base)
    for parameter in base.model.blocks.parameters():
        parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    same = sum(was == is_now for was, is_now in zip(before, replies(base), strict=True))
    kept = known.kept(base.model)
    assert same <= kept.num_kept
    assert same < 24, "nothing was changed"
    assert kept.agreement < 1


@torch.no_grad()
def test_a_model_that_says_one_thing_alone_keeps_no_answer(chat_base: Path) -> None:
    base = gptsmith.load(chat_base)
    known = known_to(base)
    base.model.head_weight.zero_()
    kept = known.kept(base.model)
    assert (kept.num_kept, kept.fraction) == (0, 0.0)


def tuned(base: Path, talk: Path, out: Path, rate: float, *settings: str) -> dict[str, Any]:
    options = [FLOAT32, "train.num_steps=12", "train.evaluate_every_steps=4", *settings]
    return gptsmith.finetune(base, [talk], out=out, learning_rate=rate, settings=options)


def test_too_high_a_rate_is_said_to_have_forgotten_much(
    chat_base: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tuned(chat_base, talk, tmp_path / "high", 0.03)
    said = " ".join(capsys.readouterr().err.split())
    kept, count = figures["num_general_answers_kept"], figures["num_general_answers"]
    assert (count, kept < 12, figures["best_step"] > 0) == (24, True, True)
    assert f"{kept} of 24 questions are still answered as before: much was forgotten" in said
    assert "(a lower --learning-rate or fewer epochs keep more)" in said
    assert f"{kept} of 24 questions" in (tmp_path / "high/report.html").read_text(encoding="utf-8")
    assert RunLog(tmp_path / "high/metrics.jsonl").events("end")[-1]["num_general_answers_kept"] == kept
    low = tuned(chat_base, talk, tmp_path / "low", 1e-7)
    assert low["num_general_answers_kept"] == 24


def test_weights_that_answer_as_before_are_the_result_if_they_have_to(
    chat_base: Path, talk: Path, tmp_path: Path
) -> None:
    figures = tuned(chat_base, talk, tmp_path / "run", 0.03, "train.min_kept_answers=0.9")
    assert figures["num_general_answers_kept"] >= 0.9 * 24
    assert figures["best_step"] == 0


def test_a_base_model_continues_its_own_text(tmp_path: Path) -> None:
    text = write_text(tmp_path / "smiths")
    run = gptsmith.pretrain([text], out=tmp_path / "base", settings=[*SMALL, "train.num_steps=2"])["run"]
    base = gptsmith.load(run)
    known = known_to(base)
    assert known.name == BEGINNINGS
    assert known.kept(base.model).num_kept == known.kept(base.model).num_answers > 10


def test_a_context_without_room_for_a_question_measures_nothing(chat_base: Path) -> None:
    base = gptsmith.load(chat_base)
    object.__setattr__(base.model, "config", base.config.model_copy(update={"context_length": 4}))
    assert known_answers(base, base.model, None) is None


@pytest.mark.parametrize("setting", ["train.max_forgetting=0.1", "train.min_kept_answers=0.8"])
def test_a_new_model_has_nothing_to_keep(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UserError, match="is for finetune: a new model has nothing to forget"):
        gptsmith.pretrain([write_text(tmp_path / "smiths")], out=tmp_path / "run", settings=[*SMALL, setting])
