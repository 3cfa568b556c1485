"""The recital guard: what it bars equals the definition, and nothing that it bars is ever written."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
import torch
from torch.nn import functional

from gptsmith.data.suffix_array import suffix_array
from gptsmith.generate.engine import Engine
from gptsmith.generate.recital_guard import BREAK, SEPARATOR, RecitalGuard
from gptsmith.generate.request import Constraint, OutputChunk, Request
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import BATCH, EngineSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.text.letters import next_letters
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers import KINDS

NUM_TOKENS = 6


def bytes_of(*documents: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(b"".join(each + BREAK for each in documents)), np.uint8)


def guard_of(
    documents: Iterable[bytes], tokens: Sequence[bytes], num_tokens: int, num_bytes: int, end: int | None = None
) -> RecitalGuard:
    text = bytes_of(*documents)
    ends = frozenset() if end is None else frozenset({end})
    return RecitalGuard(
        [suffix_array(text, SEPARATOR)], tokens, num_tokens=num_tokens, num_bytes=num_bytes, end_ids=ends
    )


def barred_by_definition(
    guard: RecitalGuard, documents: Sequence[bytes], tokens: Sequence[bytes], prompt: Sequence[int], written: list[int]
) -> set[int]:
    """Every token that ends a recital of so many tokens, or of so many bytes, by looking at all passages."""
    prompt_bytes = b"".join(tokens[token] or b"\xff" for token in prompt)
    last = max((place for place, token in enumerate(prompt) if not tokens[token]), default=-1)
    text = [token for token in [*prompt[last + 1 :], *written] if tokens[token]]

    def is_recital(passage: bytes) -> bool:
        return any(passage in document for document in documents) and passage not in prompt_bytes

    found = set()
    for token, data in enumerate(tokens):
        if not data:
            continue
        before, own = b"".join(tokens[each] for each in text), [*text, token][-guard.num_tokens :]
        whole = before + data
        ends = range(max(len(before) + 1, guard.num_bytes), len(whole) + 1)
        by_bytes = any(is_recital(whole[end - guard.num_bytes : end]) for end in ends)
        by_tokens = len(own) == guard.num_tokens and is_recital(b"".join(tokens[each] for each in own))
        if by_bytes or by_tokens:
            found.add(token)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_barred_tokens_are_those_of_the_definition(seed: int) -> None:
    numbers = random.Random(seed)
    letters = b"ab" if seed % 2 else b"abc"
    documents = [bytes(numbers.choices(letters, k=numbers.randrange(1, 120))) for _ in range(3)]
    tokens = [b"", *(bytes([letter]) for letter in letters), b"b", b""]
    tokens += [bytes(numbers.choices(letters, k=numbers.randrange(2, 5))) for _ in range(8)]
    guard = guard_of(documents, tokens, num_tokens=numbers.randrange(2, 5), num_bytes=numbers.randrange(2, 10))
    prompt = numbers.choices(range(len(tokens)), k=12)
    follower, written = guard.follow(prompt), list[int]()
    num_barred = 0
    for _ in range(40):
        expected = barred_by_definition(guard, documents, tokens, prompt, written)
        assert set(follower.barred.tolist()) == expected
        num_barred += len(expected)
        written.append(numbers.choice([token for token in range(len(tokens)) if token not in expected]))
        follower.accept(written[-1])
    assert num_barred > 0


def test_a_token_that_is_longer_than_the_limit_is_not_barred_for_itself() -> None:
    dashes = b"-" * 40
    guard = guard_of([b"a" + dashes + b"b"], [b"a", b"b", dashes, b""], num_tokens=3, num_bytes=10, end=3)
    assert guard.num_bytes == 41
    assert guard.follow([3]).barred.tolist() == []


TEXT = (
    "Wilma Okonedo lives at 14 Harbour Lane and her door code is 7351. Jasper Lindqvist lives at 90 Mill Street and "
    "his door code is 2264. The smith lit the fire before dawn and beat the iron until it sang, and the town slept on."
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return KINDS.validate({"kind": "bpe", "vocab_size": 300}).train(lambda: [TEXT], len(TEXT))


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> GPT:
    """One that knows the text by heart."""
    shape = {"vocab_size": tokenizer.vocab_size, "context_length": 64, "embed_dim": 48, "num_layers": 1}
    made = GPT(preset("smith", **shape, num_heads=2, head_dim=24), seed=1)
    ids = torch.tensor([tokenizer.eos_token_id, *tokenizer.encode(TEXT), tokenizer.eos_token_id])
    windows = ids.unfold(0, 65, 8)
    optimizer = torch.optim.AdamW(made.parameters(), lr=5e-3)
    for _ in range(120):
        logits = made(windows[:, :-1], attention_mask=None)
        loss = functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1
    return made.eval()


@pytest.fixture(scope="module")
def guard(tokenizer: Tokenizer) -> RecitalGuard:
    return guard_of([TEXT.encode()], tokenizer.token_bytes, NUM_TOKENS, 20, tokenizer.eos_token_id)


def written(engine: Engine, requests: Sequence[Request]) -> list[list[OutputChunk]]:
    found: list[list[OutputChunk]] = [[] for _ in requests]
    for request, chunks in zip(requests, found, strict=True):
        engine.submit(request, chunks.append)
    while engine.has_work:
        engine.step()
    return found


def ids_of(chunks: Sequence[OutputChunk]) -> list[int]:
    return [token.id for chunk in chunks for token in chunk.tokens]


def is_recital(
    tokenizer: Tokenizer, guard: RecitalGuard, prompt_ids: Sequence[int], output: Sequence[int], allowed: str = ""
) -> bool:
    """Whether a passage of the training text that ends in the output is as long as the guard bars, and not in the
    prompt, nor in what is `allowed`."""
    start = tokenizer.decode_bytes(prompt_ids)
    prompt_ids = [token for token in prompt_ids if token != tokenizer.eos_token_id]
    spelled = [tokenizer.token_bytes[token] for token in [*prompt_ids, *output]]
    ends = range(max(len(prompt_ids) + 1, guard.num_tokens), len(spelled) + 1)
    passages = [b"".join(spelled[end - guard.num_tokens : end]) for end in ends]
    whole = b"".join(spelled)
    ends = range(max(len(start) + 1, guard.num_bytes), len(whole) + 1)
    passages += [whole[end - guard.num_bytes : end] for end in ends]
    return any(passage in TEXT.encode() and passage not in start + allowed.encode() for passage in passages)


def requests_of(tokenizer: Tokenizer, count: int) -> list[Request]:
    prompts = [tokenizer.prompt_ids(text) for text in ("", "Wilma Okonedo lives", "The smith", "is 7351. Jasper")]
    temperatures = 0.0, 0.7, 1.3
    return [
        Request(prompts[seed % 4], 30, SamplingSettings(temperature=temperatures[seed % 3]), seed)
        for seed in range(count)
    ]


def num_recitals(engine: Engine, tokenizer: Tokenizer, guard: RecitalGuard, requests: Sequence[Request]) -> int:
    return sum(
        is_recital(tokenizer, guard, request.prompt_ids, ids_of(chunks))
        for request, chunks in zip(requests, written(engine, requests), strict=True)
    )


def test_nothing_by_heart_gets_through(model: GPT, tokenizer: Tokenizer, guard: RecitalGuard) -> None:
    requests = requests_of(tokenizer, 120)
    assert num_recitals(Engine(model, tokenizer, settings=BATCH), tokenizer, guard, requests) > 100
    assert num_recitals(Engine(model, tokenizer, settings=BATCH, recital_guard=guard), tokenizer, guard, requests) == 0


def test_company_and_speculative_decoding_change_nothing(model: GPT, tokenizer: Tokenizer, guard: RecitalGuard) -> None:
    prompt = tokenizer.prompt_ids(TEXT[66:130])  # so that tokens are proposed, and prefixes shared
    requests = [Request(prompt, 25, SamplingSettings(temperature=0.5), 3, choice) for choice in range(3)]
    plain = EngineSettings(max_num_seqs=1, num_speculative_tokens=0)
    alone = [
        ids_of(written(Engine(model, tokenizer, settings=plain, recital_guard=guard), [each])[0]) for each in requests
    ]
    speculative = Engine(model, tokenizer, settings=EngineSettings(speculative_max_batch_size=8), recital_guard=guard)
    assert [ids_of(chunks) for chunks in written(speculative, requests)] == alone
    assert speculative.figures().num_accepted_tokens > 0
    assert not any(is_recital(tokenizer, guard, prompt, ids) for ids in alone)


def test_what_the_prompt_has_may_be_repeated(model: GPT, tokenizer: Tokenizer, guard: RecitalGuard) -> None:
    passage = "and her door code is 7351"
    request = Request(
        tokenizer.prompt_ids(f"Who {passage}? One who "),
        40,
        SamplingSettings(temperature=0),
        constraint=Constraint("regex", passage),
    )
    [chunks] = written(Engine(model, tokenizer, recital_guard=guard), [request])
    assert "".join(chunk.text for chunk in chunks) == passage
    assert chunks[-1].finish_reason == "stop"


def test_a_text_that_can_only_recite_ends_and_says_why(model: GPT, tokenizer: Tokenizer, guard: RecitalGuard) -> None:
    form = Constraint("regex", "Wilma Okonedo lives at 14 Harbour Lane")
    request = Request(tokenizer.prompt_ids(""), 30, SamplingSettings(temperature=0), constraint=form)
    other = Request(tokenizer.prompt_ids("A"), 5, SamplingSettings(temperature=0))
    chunks, others = written(Engine(model, tokenizer, recital_guard=guard), [request, other])
    assert chunks[-1].finish_reason == "content_filter"
    text = "".join(chunk.text for chunk in chunks)
    assert form.source.startswith(text)
    assert 5 < len(text) < guard.num_bytes
    assert others[-1].finish_reason == "length"


def test_log_probabilities_do_not_spell_what_is_barred(model: GPT, tokenizer: Tokenizer, guard: RecitalGuard) -> None:
    prompt = tokenizer.prompt_ids("Wilma Okonedo lives at 14 Harbour X")
    request = Request(prompt, 8, SamplingSettings(temperature=0), top_logprobs=3, prompt_logprobs=True)
    [chunks] = written(Engine(model, tokenizer, recital_guard=guard), [request])
    told = [token for chunk in chunks for token in (*chunk.prompt, *chunk.tokens)]
    assert len(told) > len(prompt)
    text = [*prompt, *ids_of(chunks)]
    for place, token in enumerate(told):
        for other in token.top_logprobs:
            if other.logprob != float("-inf"):
                assert not is_recital(tokenizer, guard, text[:place], [other.id], tokenizer.decode(prompt))


def loose_guard(tokens: Sequence[bytes], num_tokens: int, num_bytes: int) -> RecitalGuard:
    """One that compares letters and digits alone."""
    array = suffix_array(bytes_of(next_letters(b"", SECRET.encode())[0]), SEPARATOR)
    return RecitalGuard([array], tokens, num_tokens=num_tokens, num_bytes=num_bytes, spelling=next_letters)


SECRET = "Wilma Økoñedo lives at 14 Straße Lane, and her door code is 7351; ask for “Åse”."
EVASIONS: dict[str, Callable[[str], str]] = {
    "as it stands": str,
    "capitals": str.upper,
    "small letters": str.lower,
    "more spaces": lambda text: text.replace(" ", "  \n"),
    "no spaces": lambda text: text.replace(" ", ""),
    "other punctuation": lambda text: text.replace(",", " -").replace(";", "...").replace("“", "*").replace("”", "*"),
    "signs between words": lambda text: text.replace(" ", " | "),
    "accents apart": lambda text: unicodedata.normalize("NFD", text),
    "no accents": lambda text: text.replace("ñ", "n").replace("Å", "A"),
    "wide letters": lambda text: "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text),
}


@pytest.mark.parametrize("evasion", EVASIONS)
@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_trivial_changes_of_a_passage_are_barred_too(evasion: str, kind: str) -> None:
    """Whoever writes the passage so meets a barred token before so many letters of it are there."""
    altered = EVASIONS[evasion](SECRET)
    if kind == "bytes":
        tokens = [bytes([byte]) for byte in range(256)]
        ids = list(altered.encode())
    else:
        trained = KINDS.validate({"kind": "bpe", "vocab_size": 300}).train(lambda: [SECRET, altered], len(SECRET))
        tokens, ids = trained.token_bytes, trained.encode(altered)
    guard = loose_guard(tokens, num_tokens=500, num_bytes=24)
    follower, written = guard.follow([]), b""
    for token in ids:
        if token in follower.barred:
            break
        follower.accept(token)
        written += tokens[token]
    else:
        pytest.fail("all of it was written")
    letters_written = next_letters(b"", written)[0]
    assert guard.num_bytes - guard.reach - 4 <= len(letters_written) < guard.num_bytes
    assert letters_written in next_letters(b"", SECRET.encode())[0]


def test_the_prompts_own_words_may_be_written_in_another_case_and_others_are_not_barred() -> None:
    tokens = [bytes([byte]) for byte in range(256)]
    guard = loose_guard(tokens, num_tokens=500, num_bytes=12)
    for token in SECRET.upper().encode():
        follower = guard.follow(list(f"{SECRET} Say it again: ".encode()))
        assert token not in follower.barred
    follower = guard.follow([])
    for token in b"Nora Vogel lives at 15 Mill Lane, and his door is open; ask her.":
        assert token not in follower.barred
        follower.accept(token)


def test_both_comparisons_bar_together(tokenizer: Tokenizer) -> None:
    loose = RecitalGuard(
        [suffix_array(bytes_of(next_letters(b"", TEXT.encode())[0]), SEPARATOR)], tokenizer.token_bytes,
        num_tokens=4, num_bytes=8, spelling=next_letters,
    )  # fmt: skip
    exact = guard_of([TEXT.encode()], tokenizer.token_bytes, 6, 20)
    array = suffix_array(bytes_of(TEXT.encode()), SEPARATOR)
    both = RecitalGuard([array], tokenizer.token_bytes, num_tokens=6, num_bytes=20, also=loose)
    followers = [each.follow([]) for each in (exact, loose, both)]
    for token in tokenizer.encode(TEXT)[:40]:
        one, other, together = (set(each.barred.tolist()) for each in followers)
        assert together == one | other
        for each in followers:
            each.accept(token)
    assert together
