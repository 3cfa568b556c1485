"""Continuations scored many at once against one at a time."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.evaluate import loglikelihood as likelihood
from gptsmith.evaluate.loglikelihood import ContinuationScore, Pair, num_truncated, score_continuations
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset

CONTEXT, WORDS = 16, 50


@pytest.fixture(scope="module", params=["learned", "rotary", "alibi"])
def model(request: pytest.FixtureRequest) -> GPT:
    table = {"vocab_size": WORDS, "context_length": CONTEXT, "init": "gpt2", "position": request.param}
    made = GPT(preset("smith", **table, embed_dim=32, num_layers=2, num_heads=2, head_dim=16), seed=5).double()
    with torch.no_grad():
        made.head.weight.mul_(20)
    return made.eval()


def some_pairs(count: int = 40) -> list[Pair]:
    """Contexts, some too long, with continuations; several share a context, and some are the same."""
    chance = random.Random(0)
    contexts = [[chance.randrange(WORDS) for _ in range(chance.randint(1, CONTEXT + 5))] for _ in range(count // 3)]
    found = [
        (contexts[number // 3 % len(contexts)], [chance.randrange(WORDS) for _ in range(chance.randint(1, 5))])
        for number in range(count - 2)
    ]
    return [*found, found[0], (contexts[0], [])]


@torch.no_grad()
def plain(model: GPT, pair: Pair) -> ContinuationScore:
    """One pair, token by token, as the definition says."""
    context, continuation = pair
    ids = [*context, *continuation]
    cut = max(0, len(ids) - 1 - CONTEXT)
    total, greedy = 0.0, True
    for place in range(len(context), len(ids)):
        logits = model(torch.tensor([ids[cut:place]]))[0, -1]
        total += float(logits.log_softmax(dim=0)[ids[place]])
        greedy = greedy and int(logits.argmax()) == ids[place]
    return ContinuationScore(total, len(continuation), greedy)


@pytest.mark.parametrize("tokens_at_once", [1, 40, 10_000])
def test_the_score_is_that_of_one_pair_alone_whatever_the_batch(model: GPT, tokens_at_once: int) -> None:
    pairs = some_pairs()
    for found, pair in zip(score_continuations(model, pairs, tokens_at_once=tokens_at_once), pairs, strict=True):
        expected = plain(model, pair)
        assert found.log_likelihood == pytest.approx(expected.log_likelihood, abs=1e-9)
        assert (found.num_tokens, found.is_greedy) == (expected.num_tokens, expected.is_greedy)


def test_logits_made_a_few_at_a_time_say_the_same(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = score_continuations(model, some_pairs())
    monkeypatch.setattr(likelihood, "LOGITS_AT_ONCE", 3 * WORDS)
    for found, expected in zip(score_continuations(model, some_pairs()), whole, strict=True):
        assert found.log_likelihood == pytest.approx(expected.log_likelihood, abs=1e-12)
        assert found.is_greedy == expected.is_greedy


@torch.no_grad()
def test_what_the_model_would_write_is_greedy_and_the_words_of_one_place_sum_to_one(model: GPT) -> None:
    context, said = [1, 2, 3], []
    for _ in range(4):
        said.append(int(model(torch.tensor([[*context, *said]]))[0, -1].argmax()))
    (found,) = score_continuations(model, [(context, said)])
    assert found.is_greedy
    other = [*said[:-1], (said[-1] + 1) % WORDS]
    assert not score_continuations(model, [(context, other)])[0].is_greedy
    words = score_continuations(model, [(context, [word]) for word in range(WORDS)])
    assert sum(math.exp(each.log_likelihood) for each in words) == pytest.approx(1, abs=1e-9)


def test_a_uniform_model_knows_nothing() -> None:
    table = {"vocab_size": WORDS, "context_length": CONTEXT}
    made = GPT(preset("smith", **table, embed_dim=32, num_layers=1, num_heads=2, head_dim=16), seed=0).double()
    with torch.no_grad():
        made.head.weight.zero_()
    (found,) = score_continuations(made.eval(), [([1], [2, 3, 4])])
    assert found.log_likelihood == pytest.approx(-3 * torch.tensor(float(WORDS)).double().log().item(), abs=1e-12)


def test_long_contexts_lose_their_beginning(model: GPT) -> None:
    ids = list(itertools.islice(itertools.cycle(range(WORDS)), CONTEXT + 9))
    long, cut = (ids[:-3], ids[-3:]), (ids[-(CONTEXT + 1) : -3], ids[-3:])
    first, second = score_continuations(model, [long, cut])
    assert first.log_likelihood == pytest.approx(second.log_likelihood, abs=1e-9)
    assert (num_truncated(CONTEXT, long), num_truncated(CONTEXT, cut)) == (8, 0)


def test_a_continuation_longer_than_the_context_is_refused(model: GPT) -> None:
    score_continuations(model, [([1], [2] * CONTEXT)])
    with pytest.raises(UserError, match="17 tokens does not fit in the model's context of 16"):
        score_continuations(model, [([1], [2] * (CONTEXT + 1))])


def test_progress_counts_every_continuation(model: GPT) -> None:
    seen: list[int] = []
    score_continuations(model, some_pairs(), tokens_at_once=40, observe=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 40
    assert score_continuations(model, []) == []
