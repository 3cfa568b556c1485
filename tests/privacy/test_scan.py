"""A scan says of every token what the model says of it, and what it says is recited is what the engine writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from gptsmith.data.suffix_array import SuffixArray, suffix_array
from gptsmith.generate.api import generate_batch_with
from gptsmith.generate.kept_engine import KeptEngine
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.privacy import scan as module
from gptsmith.privacy.readings import Documents, Windows
from gptsmith.privacy.recitable import Runs, passages_of
from gptsmith.privacy.repeats import repeated
from gptsmith.privacy.scan import Scan, scan
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

CONTEXT = 32
LENGTHS = (70, 1, 31, 33, 90)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return BytesTokenizerSettings().train(lambda: iter(["a"]), 1)


@pytest.fixture(scope="module")
def text(tokenizer: Tokenizer) -> SuffixArray:
    """Documents of random letters, the third of which stands in the last."""
    generator = np.random.default_rng(1)
    documents = [generator.integers(97, 123, length) for length in LENGTHS]
    documents[4][20:51] = documents[2]
    end = tokenizer.eos_token_id
    return suffix_array(np.concatenate([[*document, end] for document in documents]).astype(np.uint16), end)


@pytest.fixture(scope="module")
def ends() -> np.ndarray:
    return np.cumsum(np.array(LENGTHS) + 1)


@pytest.fixture(scope="module")
def windows(tokenizer: Tokenizer) -> Windows:
    return Windows.of(tokenizer, CONTEXT)


@pytest.fixture(scope="module")
def untrained(tokenizer: Tokenizer) -> GPT:
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size, context_length=CONTEXT, embed_dim=48, num_layers=2, num_heads=2, init="gpt2"
    )
    return GPT(config, seed=3).eval()


@pytest.fixture(scope="module")
def overfitted(untrained: GPT, windows: Windows, text: SuffixArray, ends: np.ndarray) -> GPT:
    """A model that has learnt each window of the text."""
    model = GPT(untrained.config, seed=4)
    begins = [0, *ends[:-1]]
    rows = [
        torch.tensor([*(windows.bos if start else windows.opening), *part[start : start + windows.length].tolist()])
        for begin, end in zip(begins, ends, strict=True)
        for part in [text.tokens[begin : end - 1]]
        for start in windows.starts(len(part))
    ]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3, weight_decay=0.0)
    for _ in range(130):
        loss = functional.cross_entropy(model(ids[:, :-1].clamp(min=0)).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def known(overfitted: GPT, windows: Windows, text: SuffixArray, ends: np.ndarray) -> Scan:
    return scan(overfitted, Documents(text.tokens, ends, windows))


def document_of(text: SuffixArray, ends: np.ndarray, place: int) -> tuple[np.ndarray, int]:
    number = int(np.searchsorted(ends, place, side="right"))
    begin = int(ends[number - 1]) if number else 0
    return text.tokens[begin : ends[number] - 1], begin


def test_every_token_is_read_once_and_predicted_from_its_prompt(
    untrained: GPT, windows: Windows, text: SuffixArray, ends: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKENS_PER_BATCH", 100)
    seen: list[int] = []
    found = scan(untrained, Documents(text.tokens, ends, windows), observe=seen.append)
    is_text = text.tokens != text.separator
    assert np.array_equal(~np.isnan(found.log_probabilities), is_text)
    assert seen[-1] == found.num_read == sum(LENGTHS)
    assert len(seen) > 1
    for place in np.flatnonzero(is_text):
        document, begin = document_of(text, ends, int(place))
        prompt = windows.prompt(document, int(place) - begin)
        assert len(prompt) >= min(int(place) - begin, windows.overlap)
        with torch.inference_mode():
            logits = untrained(torch.tensor([prompt]))[0, -1]
        expected = logits.log_softmax(0)[int(text.tokens[place])]
        assert found.log_probabilities[place] == pytest.approx(float(expected), abs=1e-4)
        assert found.is_right[place] == (int(logits.argmax()) == text.tokens[place])


def test_an_overfitted_model_recites_all_and_the_engine_writes_it(
    overfitted: GPT, known: Scan, windows: Windows, text: SuffixArray, ends: np.ndarray, tokenizer: Tokenizer
) -> None:
    assert known.is_right.sum() > 0.95 * known.num_read
    runs = Runs.of(known, repeated(text.tokens, ends, windows.length)).at_least(10)
    prompts, wanted = [], []
    for start, stop in zip(runs.starts.tolist(), runs.stops.tolist(), strict=True):
        document, begin = document_of(text, ends, start)
        place = start
        while place < stop:  # each window's part of the run has its own prompt
            prompt = windows.prompt(document, place - begin)
            lengths = (len(windows.prompt(document, at - begin)) - (at - place) for at in range(place, stop))
            room = next((number for number, length in enumerate(lengths) if length != len(prompt)), stop - place)
            prompts.append(prompt)
            wanted.append(text.tokens[place : place + room].tolist())
            place += room
    assert len(prompts) > len(runs.starts)  # some runs reach over windows
    engine = KeptEngine(tokenizer).of(overfitted)
    for prompt, passage in zip(prompts, wanted, strict=True):
        (written,) = generate_batch_with(
            engine, [prompt], max_tokens=len(passage), sampling=SamplingSettings(temperature=0.0), seeds=[0], stop=[]
        )
        assert written.text == tokenizer.decode(passage)


def test_a_passage_that_stands_twice_is_one_passage(
    known: Scan, windows: Windows, text: SuffixArray, ends: np.ndarray
) -> None:
    passages = passages_of(known, Runs.of(known, repeated(text.tokens, ends, windows.length)).at_least(10), text)
    assert [passage.num_tokens for passage in passages] == sorted((each.num_tokens for each in passages), reverse=True)
    owners = [document_of(text, ends, passage.start)[1] for passage in passages]
    assert len(passages) <= 4, "the third document stands in the last one, and is no passage of its own"
    assert int(ends[1]) not in owners
    assert all(passage.tries < 100 for passage in passages)


def test_an_untrained_model_recites_nothing(
    untrained: GPT, windows: Windows, text: SuffixArray, ends: np.ndarray
) -> None:
    found = scan(untrained, Documents(text.tokens, ends, windows))
    assert not len(Runs.of(found, repeated(text.tokens, ends, windows.length)).starts)


def test_when_time_is_up_a_sample_was_read(
    untrained: GPT, windows: Windows, text: SuffixArray, ends: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOKENS_PER_BATCH", 40)
    clock = iter(range(1_000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    found = scan(untrained, Documents(text.tokens, ends, windows), deadline=2)
    assert 0 < found.num_read < sum(LENGTHS)
    assert not found.is_right[np.isnan(found.log_probabilities)].any()
