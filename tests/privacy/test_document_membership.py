"""Membership of documents: only where chance decided which were held out, and with known answers there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gptsmith.privacy import document_membership as document_membership_module
from gptsmith.privacy.document_membership import document_membership, membership_in_words
from gptsmith.privacy.token_scores import TokenScores
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from tests.explain.conftest import random_model

TOKENIZER = BytesTokenizerSettings().train(list, 0)
MODEL = random_model(TOKENIZER.vocab_size).float()


@dataclass
class Text:
    """What is looked at of a `LearnedText`."""

    trained: list[str]
    held_out: list[str]
    kind: str = "text"
    run: Path = Path("run")
    tokenizer: Tokenizer = TOKENIZER
    array: Any = field(default_factory=lambda: SimpleNamespace(separator=TOKENIZER.eos_token_id))

    @property
    def ends(self) -> np.ndarray:
        return np.arange(len(self.trained))

    def tokens_of(self, document: int) -> np.ndarray:
        return np.array(TOKENIZER.encode(self.trained[document]))

    def held_out_tokens(self) -> np.ndarray:
        ids = [[*TOKENIZER.encode(each), TOKENIZER.eos_token_id] for each in self.held_out]
        return np.array([token for each in ids for token in each], np.int64)


def run(**data: Any) -> Any:
    return SimpleNamespace(folder=Path("run"), data=lambda: {"split_by": "document", **data}, training=lambda: None)


def texts(count: int, seed: int) -> list[str]:
    letters = np.random.default_rng(seed).integers(97, 123, size=(count, 40))
    return ["".join(map(chr, row)) for row in letters]


def test_documents_of_one_source_cannot_be_told_by_a_model_that_saw_none() -> None:
    found = document_membership(run(), Text(texts(60, 1), texts(40, 2)), MODEL)  # type: ignore[arg-type]
    low, high = found["interval"]
    assert low <= 0.5 <= high
    assert found["memberships"]["loss"]["num_members"] == 60
    assert found["memberships"]["loss"]["num_others"] == 40
    assert f"AUC of {found['auc']:.2f}" in membership_in_words(found)


def test_documents_that_the_model_expects_are_told_from_others() -> None:
    written = MODEL(torch.tensor([[TOKENIZER.eos_token_id]]))[0, -1]
    likely, unlikely = int(written[97:123].argmax()) + 97, int(written[97:123].argmin()) + 97
    trained, held_out = ([f"{chr(first)}{chr(97 + n)}" for n in range(26)] for first in (likely, unlikely))
    found = document_membership(run(), Text(trained, held_out), MODEL)  # type: ignore[arg-type]
    assert found["auc"] > 0.8


@pytest.mark.parametrize(
    ("data", "text", "reason"),
    [
        ({"split_by": "position"}, {}, "end of each document"),
        ({"split_by": "files"}, {}, "another source"),
        ({"split_by": "none"}, {}, "nothing of its text was held out"),
        ({"canaries": {"num": 4}}, {}, "canaries in them"),
        ({}, {"held_out": texts(3, 2)}, "3 held-out documents are too few"),
        ({}, {"kind": "examples"}, "plain text"),
        ({}, {"run": Path("base")}, "itself trained"),
    ],
)
def test_where_chance_did_not_decide_the_reason_is_said(data: Any, text: Any, reason: str) -> None:
    given = Text(**{"trained": texts(40, 1), "held_out": texts(40, 2), **text})
    found = document_membership(run(**data), given, MODEL)  # type: ignore[arg-type]
    assert set(found) == {"membership_missing"}
    assert reason in found["membership_missing"]
    assert membership_in_words(found).startswith("Who is in it cannot be measured")


class Known:
    """A model that gives each document the probability of a table."""

    device = torch.device("cpu")

    def __init__(self, log_probabilities: dict[str, float]) -> None:
        self.log_probabilities = log_probabilities

    def to(self, device: torch.device) -> Known:
        return self

    @staticmethod
    def read(model: Known, text: Text, documents: list[np.ndarray], observe: object) -> list[TokenScores]:
        found = [np.array([model.log_probabilities[TOKENIZER.decode(ids.tolist())]]) for ids in documents]
        return [TokenScores(each, each, each > 0) for each in found]


@pytest.mark.parametrize("gain", [0.0, 0.3])
def test_what_documents_are_to_the_base_is_taken_off(gain: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are hard or easy by 3 nats, and what was trained on is easier than it was by `gain`, 0.1 more or less:
    the loss cannot tell, the loss less the base's can, and nothing can if there is no gain."""
    generator, trained, held_out = np.random.default_rng(4), texts(100, 1), texts(100, 2)
    before = {each: float(generator.normal(-8, 3)) for each in (*trained, *held_out)}
    after = {each: before[each] + float(generator.normal(gain * (each in trained), 0.1)) for each in before}
    monkeypatch.setattr(document_membership_module, "base_model", lambda *_: Known(before))
    monkeypatch.setattr(document_membership_module, "_read", Known.read)
    found = document_membership(run(), Text(trained, held_out), Known(after))  # type: ignore[arg-type]
    assert found["auc"] == found["memberships"]["loss_less_base"]["auc"]
    assert (found["interval"][0] > 0.95) if gain else (found["auc"] == pytest.approx(0.5, abs=0.12))
    assert found["memberships"]["loss"]["auc"] == pytest.approx(0.5, abs=0.12)
