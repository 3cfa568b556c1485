"""The goldfish objective: which targets are left out is a property of the text, and the counts say how many."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.settings import DataSettings
from gptsmith.data.windows import IGNORED
from gptsmith.text.tokenizers import KINDS as TOKENIZERS
from gptsmith.train.datasets.text import TextDataset
from gptsmith.train.objectives.goldfish import GoldfishSettings, HashedTargets
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.step import accumulate
from tests.train.contracts import tiny

CHANCE = random.Random(5)
PASSAGE = "".join(CHANCE.choices("abcdefghij ", k=150))
DOCUMENTS = [
    f"{PASSAGE} one",
    f"Said before it: {PASSAGE}",
    f"{PASSAGE} two",
    "".join(CHANCE.choices("klmnop", k=700)),
]
H = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("goldfish")
    for number, document in enumerate(DOCUMENTS):
        (folder / f"{number}.txt").write_text(document, encoding="utf-8")
    tokenizer = TOKENIZERS.validate("bytes").train(list, 0)
    return prepare([folder], settings=DataSettings(validation_fraction=0.0), tokenizer=tokenizer, seed=1)


def learnt(data: PreparedData, context_length: int, seed: int, left_out: HashedTargets) -> dict[int, bool]:
    """Whether each token of the stream is learnt in three epochs: always, or never."""
    dataset = TextDataset(data, context_length, seed, left_out=left_out)
    found: dict[int, bool] = {}
    num_samples = 3 * dataset.num_samples
    [batch] = dataset.batches(tiny(), 0, num_samples, num_samples)
    for sample, targets in enumerate(batch.targets.tolist()):
        start, stop = dataset.windows.span(sample)
        for place, target in zip(range(start, stop), targets, strict=False):
            is_learnt = target != IGNORED
            assert found.setdefault(place % len(data.train), is_learnt) == is_learnt
    return found


def test_windows_and_epochs_leave_out_the_same_targets(data: PreparedData) -> None:
    left_out = GoldfishSettings(h=H).left_out
    found = learnt(data, 7, 1, left_out)
    assert found == learnt(data, 40, 2, left_out)
    assert sum(found.values()) / len(found) == pytest.approx(3 / 4, abs=0.05)


def test_copies_of_a_passage_lack_the_same_targets(data: PreparedData) -> None:
    found = learnt(data, 32, 1, GoldfishSettings(h=H).left_out)
    stream, passage = data.train.slice(0, len(data.train)), data.tokenizer.encode(PASSAGE)
    starts = [at for at in range(len(stream)) if stream[at : at + len(passage)].tolist() == passage]
    first, second, third = ([found[at + place] for place in range(len(passage))] for at in starts)
    assert first[H:] == second[H:] == third[H:]
    begins = [at for at in starts if at == 0 or stream[at - 1] == data.tokenizer.eos_token_id]
    whole = [[found[at + place] for place in range(len(passage))] for at in begins]
    assert len(whole) == 2
    assert whole[0] == whole[1]


def test_the_choice_is_a_fair_one_of_k_and_never_changes() -> None:
    tokens = np.random.default_rng(0).integers(50_000, size=40_013)
    for k in (2, 3, 4, 10):
        left_out = HashedTargets(k, 13)(tokens, 50_000)
        assert len(left_out) == 40_000
        assert left_out.mean() == pytest.approx(1 / k, abs=0.01)


def test_the_hash_is_that_of_plain_arithmetic() -> None:
    tokens = np.random.default_rng(1).integers(9, size=300)
    found = HashedTargets(4, 3)(tokens, separator=8).tolist()
    assert found == [left_out_by_definition(tokens[at - 3 : at].tolist()) for at in range(3, 300)]


def left_out_by_definition(before: list[int]) -> bool:
    """Whether one target in 4 is left out, given the three tokens before it, in a text whose documents 8 begins."""
    begin = max((place for place, token in enumerate(before) if token == 8), default=0)
    own = [0] * begin + [token + 1 for token in before[begin:]]
    hashed = sum(token * 0x9E3779B97F4A7C15**power for power, token in enumerate(own, 1)) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        hashed = (hashed ^ hashed >> shift) * factor % 2**64
    return hashed % 4 == 0


def test_the_loss_is_the_mean_of_the_targets_that_are_left(data: PreparedData) -> None:
    objective = GoldfishSettings(h=H)
    batches = TextDataset(data, 12, 1, left_out=objective.left_out).batches(tiny(), 0, 6, 6)
    [whole] = batches
    assert objective.counts(whole) == {"goldfish": int((whole.targets != IGNORED).sum())}
    assert 0 < whole.num_tokens < 6 * 12
    parts = TextDataset(data, 12, 1, left_out=objective.left_out).batches(tiny(), 0, 6, 2)
    once, apart = tiny(), tiny()
    assert accumulate(once, objective, batches) == pytest.approx(accumulate(apart, objective, parts), abs=1e-12)
    for ours, theirs in zip(once.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)
    assert accumulate(tiny(), NextTokenSettings(), batches) == pytest.approx(accumulate(tiny(), objective, batches))
