"""Made-up sentences as a model sees them: equal to scoring each by itself, and learnt ones are known by heart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptsmith.data.care.canaries import made_canaries, other_codes
from gptsmith.data.care.example_canaries import conversation, with_canaries
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.evaluate.loglikelihood import score_continuations
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.init import initialize
from gptsmith.privacy.exposure import exposure
from gptsmith.privacy.sentences import Spelling, code_exposures, see
from gptsmith.privacy.tries import tries_of
from gptsmith.text.chat_template import CHATML, PLAIN, ChatTemplate
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from tests.data.care.test_example_canaries import chat
from tests.explain.conftest import random_model

CANARIES = made_canaries(5, seed=1)
PLANTED = [canary.planted for canary in CANARIES]
UNSEEN = [canary.unseen for canary in CANARIES]
CODES = other_codes(20, seed=1)


def tokenizer_of(kind: str) -> Tokenizer:
    if kind == "bytes":
        return BytesTokenizerSettings().train(list, 0)
    text = "\n".join(each.text for each in PLANTED)
    return BPETokenizerSettings(vocab_size=320).train(lambda: iter([text]), len(text))


def lines(tokenizer: Tokenizer) -> Spelling:
    return Spelling(tokenizer, ChatTemplate())


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_they_are_scored_as_each_is_by_itself(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    model = random_model(tokenizer.vocab_size, context_length=128)
    for seen, sentence in zip(see(model, lines(tokenizer), PLANTED), PLANTED, strict=True):
        context, text = tokenizer.encode("\n"), sentence.text.removesuffix(".")
        ids = tokenizer.encode(text)
        (score,) = score_continuations(model, [(context, ids)])
        assert seen.log_probabilities.sum() == pytest.approx(score.log_likelihood, rel=1e-4)
        assert seen.log_likelihood == pytest.approx(score.log_likelihood / len(sentence.text), rel=1e-4)
        assert len(seen.log_probabilities) == len(ids)
        assert seen.num_name_tokens == len(tokenizer.encode(sentence.name))
        rest = ids[seen.num_name_tokens :]
        (score,) = score_continuations(model, [([*context, *ids[: seen.num_name_tokens]], rest)])
        assert seen.tries == pytest.approx(tries_of(score.log_likelihood), rel=1e-3)
        assert seen.is_by_heart == score.is_greedy


@pytest.mark.parametrize("template", [CHATML, PLAIN, CHATML.replace("message.content", "message.content | trim")])
def test_answers_are_spelled_as_they_are_trained(template: str) -> None:
    tokenizer = tokenizer_of("bpe")
    spelling = Spelling(tokenizer, ChatTemplate(template))
    for canary in with_canaries(ExampleSplits([chat(0)] * 99, [], []), 3, seed=1).canaries:
        sentence = canary.planted
        trained = ChatTemplate(template).encode(tokenizer, conversation(sentence).messages)
        ids = spelling.ids(sentence, sentence.text)
        assert list(trained.ids[: len(ids)]) == ids
        before = spelling.ids(sentence, "")
        assert list(trained.trained).index(True) == len(before), "every target is in the answer"
        assert tokenizer.decode(ids[len(before) :]) == sentence.text


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_codes_rank_as_each_is_by_itself(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    model = random_model(tokenizer.vocab_size, context_length=128)
    found = code_exposures(model, lines(tokenizer), PLANTED[:3], CODES)
    for bits, sentence in zip(found, PLANTED[:3], strict=True):
        context = tokenizer.encode(f"\n{sentence.before_code}")
        pairs = [(context, tokenizer.encode(f" {code}")) for code in (sentence.code, *CODES)]
        scores = np.array([score.log_likelihood for score in score_continuations(model, pairs)])
        assert bits == pytest.approx(exposure(scores[:1], scores[None, 1:])[0])


def test_surprise_is_standard_under_the_models_own_prediction() -> None:
    tokenizer = tokenizer_of("bytes")
    model = random_model(tokenizer.vocab_size, context_length=128)
    (seen,) = see(model, lines(tokenizer), PLANTED[:1])
    ids = tokenizer.encode(f"\n{PLANTED[0].text}")
    with torch.no_grad():
        logs = model(torch.tensor([ids[:-1]]))[0].log_softmax(dim=1)[3]
    mean = (logs.exp() * logs).sum()
    deviation = ((logs.exp() * logs**2).sum() - mean**2).sqrt()
    assert seen.surprises[3] == pytest.approx(float((logs[ids[4]] - mean) / deviation), rel=1e-3)


def learnt(tokenizer: Tokenizer) -> GPT:
    """A tiny model that learnt the planted twins by heart."""
    torch.manual_seed(1)
    shape = {
        "vocab_size": tokenizer.vocab_size,
        "context_length": 128,
        "embed_dim": 64,
        "num_layers": 2,
        "num_heads": 2,
    }
    model = GPT(GPTConfig.parse(shape))
    initialize(model, model.config, seed=1)
    rows = [tokenizer.encode(f"\n{sentence.text}") for sentence in PLANTED]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    targets = torch.full_like(ids, -100)
    for row, line in enumerate(rows):
        ids[row, : len(line)] = torch.tensor(line)
        targets[row, : len(line) - 1] = torch.tensor(line[1:])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model.cross_entropy(model.hidden(ids), targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def test_what_was_overfitted_is_known_by_heart_and_nothing_else() -> None:
    tokenizer = tokenizer_of("bpe")
    untrained = random_model(tokenizer.vocab_size, context_length=128)
    assert not any(seen.is_by_heart for seen in see(untrained, lines(tokenizer), PLANTED + UNSEEN))
    model = learnt(tokenizer)
    planted, unseen = (
        see(model, lines(tokenizer), PLANTED),
        see(model, lines(tokenizer), UNSEEN),
    )
    assert all(seen.is_by_heart for seen in planted)
    assert not any(seen.is_by_heart for seen in unseen)
    assert max(seen.tries for seen in planted) < 3 < min(seen.tries for seen in unseen)
    assert (code_exposures(model, lines(tokenizer), PLANTED, CODES) == np.log2(len(CODES) + 1)).all()
    assert code_exposures(model, lines(tokenizer), UNSEEN, CODES).mean() < 3
