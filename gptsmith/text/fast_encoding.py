"""Fast encoding of large texts: tiktoken or a table if proven to give the same ids, in threads; else the backend."""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import tiktoken
from tokenizers import Tokenizer as Backend

from gptsmith.base.errors import DataError, one_line
from gptsmith.base.machine import num_cpus
from gptsmith.text.chunk_boundaries import safe_cut
from gptsmith.text.pretokenization import GPT2_SPLIT, QWEN2_SPLIT
from gptsmith.text.surrogates import refuse_surrogates

CHUNK_CHARACTERS = 100_000
Encoder = Callable[[str], np.ndarray]
Job = list[tuple[str, bool]]
"""Chunks, each with whether its text ends with it."""


class Vocabulary(Protocol):
    """The attributes of a `Tokenizer` that fast encoding reads."""

    backend: Backend

    @property
    def state(self) -> dict[str, Any]: ...
    @property
    def token_bytes(self) -> list[bytes]: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def fast_encoder(self) -> Encoder: ...
    def chunks(self, text: str) -> Iterator[str]: ...


MAX_SPACES = 10_000
MANY_SPACES = re.compile(rf"\s{{{MAX_SPACES}}}")
"""tiktoken's regular expressions run out of stack on a million spaces."""
NEVER_SPECIAL = "\x00<never allowed>\x00"
"""tiktoken looks for special tokens by a regular expression. Of no tokens it would be empty and match at every byte:
this token, which it is never allowed to use, halves the time."""


def encode_batch(tokenizer: Vocabulary, texts: Iterable[str]) -> Iterator[np.ndarray]:
    """The ids of each text, uint32, in order."""
    encode = tokenizer.fast_encoder
    workers = num_cpus()
    with ThreadPoolExecutor(workers) as pool:
        running: deque[tuple[Job, Future[list[np.ndarray]]]] = deque()
        parts: list[np.ndarray] = []
        for job in _jobs(tokenizer, texts):
            running.append((job, pool.submit(lambda job: [encode(chunk) for chunk, _ in job], job)))
            if len(running) > 2 * workers:
                yield from _whole_texts(*running.popleft(), parts)
        while running:
            yield from _whole_texts(*running.popleft(), parts)


def _jobs(tokenizer: Vocabulary, texts: Iterable[str]) -> Iterator[Job]:
    """Lists of chunks, each large enough to be worth a thread's while."""
    job: Job = []
    num_characters = 0
    for text in texts:
        refuse_surrogates(text)
        chunks = list(tokenizer.chunks(text))
        for number, chunk in enumerate(chunks, 1):
            job.append((chunk, number == len(chunks)))
            num_characters += len(chunk)
            if num_characters >= CHUNK_CHARACTERS:
                yield job
                job, num_characters = [], 0
    if job:
        yield job


def _whole_texts(job: Job, encoded: Future[list[np.ndarray]], parts: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The ids of the texts that end in a job; `parts` holds the earlier chunks of the first, then of the next text."""
    for (_, ends), ids in zip(job, encoded.result(), strict=True):
        parts.append(ids)
        if ends:
            yield parts[0] if len(parts) == 1 else np.concatenate(parts)
            parts.clear()


def fast_encoder(tokenizer: Vocabulary) -> Encoder:
    """The fastest way to encode a text that is proven to give the backend's ids."""
    return _table_encoder(tokenizer) or _tiktoken_encoder(tokenizer) or backend_encoder(tokenizer)


def text_chunks(text: str, *, anywhere: bool = False) -> Iterator[str]:
    """The text in chunks, cut where a tokenizer that `ends_words_at_cuts` may be; with `anywhere`, at any place."""
    start = 0
    while len(text) - start > 2 * CHUNK_CHARACTERS:
        cut = CHUNK_CHARACTERS if anywhere else safe_cut(text[start : start + 2 * CHUNK_CHARACTERS], CHUNK_CHARACTERS)
        if cut is None:
            break
        yield text[start : start + cut]
        start += cut
    yield text[start:]


def backend_encoder(tokenizer: Vocabulary) -> Encoder:
    """The plain twin: the backend itself."""
    backend = tokenizer.backend
    return lambda text: np.array(backend_ids(backend, text), np.uint32)


LONG_TEXT = 2000


def backend_ids(backend: Backend, text: str) -> list[int]:
    """The ids that the backend gives, without what stands before every text.

    Raises:
        DataError: the library fails on the text, such as by a regular expression that gives up.
    """
    try:
        if len(text) < LONG_TEXT:
            return backend.encode(text, add_special_tokens=False).ids
        # Unlike `encode`, it releases the interpreter's lock: other threads go on.
        (encoding,) = backend.encode_batch([text], add_special_tokens=False)
        return encoding.ids
    except BaseException as error:
        if not is_panic(error):
            raise
        raise DataError(f"the tokenizer fails on a text of {len(text):,} characters: {one_line(error)}") from None


def is_panic(error: BaseException) -> bool:
    """Whether Rust's code in a library gave up, which is no `Exception` in Python."""
    return type(error).__name__ == "PanicException"


def _table_encoder(tokenizer: Vocabulary) -> Encoder | None:
    """For vocabularies of single characters: code points to ids by a table."""
    model = tokenizer.state["model"]
    if model["type"] != "BPE" or model["merges"] or not model.get("byte_fallback") or tokenizer.state["normalizer"]:
        return None
    table = np.full(0x110000, -1, np.int64)
    for token, number in model["vocab"].items():
        if len(token) == 1:
            table[ord(token)] = number
    fallback = np.array([model["vocab"][f"<0x{byte:02X}>"] for byte in range(256)], np.int64)

    def encode(text: str) -> np.ndarray:
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        ids = table[points]
        if (ids >= 0).all():
            return ids.astype(np.uint32)
        parts = []
        for known, group in itertools.groupby(zip(text, ids, strict=True), key=lambda pair: pair[1] >= 0):
            pairs = list(group)
            if known:
                parts.append(np.array([number for _, number in pairs]))
            else:
                parts.append(fallback[np.frombuffer("".join(c for c, _ in pairs).encode(), np.uint8)])
        return np.concatenate(parts).astype(np.uint32)

    return encode


def _tiktoken_encoder(tokenizer: Vocabulary) -> Encoder | None:
    """tiktoken on the same merges, where they are proven to give the same ids."""
    pattern = _split_of(tokenizer.state)
    ranks = _ranks_of(tokenizer) if pattern else None
    if pattern is None or ranks is None:
        return None
    special = {NEVER_SPECIAL: max(ranks.values()) + 1}
    encoding = tiktoken.Encoding("gptsmith", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    plain = backend_encoder(tokenizer)

    def encode(text: str) -> np.ndarray:
        if len(text) >= MAX_SPACES and MANY_SPACES.search(text):
            return plain(text)
        return np.asarray(encoding.encode_to_numpy(text, disallowed_special=()), np.uint32)

    return encode


def _split_of(state: dict) -> str | None:
    """The regular expression that the backend splits text by, where it is one that tiktoken can use."""
    if state["normalizer"] is not None:
        return None
    match state["pre_tokenizer"]:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return GPT2_SPLIT
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        } if pattern == QWEN2_SPLIT:
            return pattern
    return None


def _ranks_of(tokenizer: Vocabulary) -> dict[bytes, int] | None:
    """Every token's bytes and id; None unless merging by id is proven to be merging by the backend's list.

    That holds if ids rise with the list, each token is a byte or made by one merge, and each merge's pair is what the
    earlier merges make of the merged bytes alone: then no other pair with the same bytes can ever stand in a text.
    """
    model = tokenizer.state["model"]
    plain = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None}
    if any(model.get(key) not in (value, "") for key, value in plain.items()):
        return None
    if model.get("byte_fallback") or model.get("ignore_merges") or model.get("end_of_word_suffix"):
        return None
    spelt = {token: tokenizer.token_bytes[n] for token, n in model["vocab"].items() if n not in tokenizer.special_ids}
    ranks = {data: model["vocab"][token] for token, data in spelt.items()}
    if len(ranks) != len(spelt) or any(bytes([byte]) not in ranks for byte in range(256)):
        return None
    made = 0
    last = -1
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        merged = left + right
        if left not in spelt or right not in spelt or merged not in spelt or model["vocab"][merged] <= last:
            return None
        last = model["vocab"][merged]
        if _merged_below(spelt[merged], ranks, last) != [spelt[left], spelt[right]]:
            return None
        made += 1
    singles = sum(len(data) == 1 for data in ranks)
    return ranks if singles == 256 and made + 256 == len(ranks) else None


def _merged_below(data: bytes, ranks: dict[bytes, int], limit: int) -> list[bytes]:
    """The parts that merges of a lower rank than `limit` make of `data`: byte-pair encoding in its plain form."""
    parts = [data[at : at + 1] for at in range(len(data))]
    while len(parts) > 1:
        pairs = [ranks.get(left + right, limit) for left, right in itertools.pairwise(parts)]
        lowest = min(pairs)
        if lowest >= limit:
            break
        at = pairs.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
