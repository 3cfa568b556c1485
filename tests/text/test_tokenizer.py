"""Tokenizers: what goes in comes out, the fast path is the plain path, and text never becomes a special token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer, GPT2TokenizerFast

from gptsmith.base.errors import UserError
from gptsmith.text import fast_encoding
from gptsmith.text.chunk_boundaries import safe_cut
from gptsmith.text.fast_encoding import LONG_TEXT, NEVER_SPECIAL, backend_encoder
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import SPECIAL_TOKENS, Tokenizer, TooManyTokensError
from gptsmith.text.tokenizers import KINDS
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings, suitable_vocab_size
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from gptsmith.text.tokenizers.characters import CharactersTokenizerSettings
from gptsmith.text.tokenizers.huggingface import HuggingFaceTokenizerSettings

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ENGLISH = (
    "The smith isn't here; he'll forge 1,024 nails tomorrow, they've said.\n\n\tIf he does, we're fine!  He'd better.\n"
    "def forge(nails):\n    return [nail * 2 for nail in nails]  # twice as long\n"
) * 40
SPECIAL_CASES = [
    f"a{NEVER_SPECIAL}b{NEVER_SPECIAL}",
    "",
    " ",
    "\n",
    "  \n\n  x",
    "a" * 5000,
    "'S 'LL don\u2019t 'ſ",
    "１２３ ٣ Ⅷ",
    "e\u0301 é",
    "\u200b\u00a0\u3000x \r\n\r\ny",
    "👩‍👩‍👧‍👦🏽",
    "\x00\x01\x7f",
    "日本語のテキスト。\n次の行",
    "<|endoftext|> <|im_start|>user<|im_end|>",
    "<0x41><0xE2>",
]


def languages() -> list[str]:
    """A text in each of 388 languages, or, without the data, a few lines that cover many scripts."""
    path = SHARED / "udhr_languages.jsonl"
    if not path.exists():
        return [
            chr(start) * 3 + " " + "".join(map(chr, range(start, start + 60))) for start in range(0x100, 0xD000, 64)
        ]
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def train(kind: str) -> Tokenizer:
    return KINDS.validate(kind).train(lambda: [ENGLISH, "Grüße, 世界"], len(ENGLISH))


@pytest.fixture(scope="module", params=["bpe", "characters", "bytes"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train(request.param)


@pytest.fixture(scope="module")
def gpt2() -> tuple[Tokenizer, GPT2TokenizerFast]:
    """GPT-2's tokenizer, ours and the reference; of a small self-made vocabulary where the real one is missing."""
    folder = SHARED / "gpt2_tokenizer"
    ours = HuggingFaceTokenizerSettings(path=str(folder)).train(list, 0)
    reference = GPT2TokenizerFast(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    return ours, reference


def plain(tokenizer: Tokenizer, text: str) -> list[int]:
    return backend_encoder(tokenizer)(text).tolist()


def in_batch(tokenizer: Tokenizer, *texts: str) -> list[list[int]]:
    return [ids.tolist() for ids in tokenizer.encode_batch(texts)]


UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
TRICKY = st.lists(
    st.sampled_from(
        [" ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "don't", "1", "٣", "a", "Ab", "é", "日", "🙂", ".", "!?", "\u00a0"]
    ),
    max_size=60,
).map("".join)


@settings(max_examples=150)
@given(text=UNICODE | TRICKY)
def test_any_text_comes_back_and_the_fast_path_is_the_plain_one(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert in_batch(tokenizer, text) == [ids] == [plain(tokenizer, text)]
    assert tokenizer.num_bytes_per_token[ids].sum() == len(text.encode())
    assert not set(ids) & tokenizer.special_ids


@settings(max_examples=100)
@given(data=st.binary(max_size=80))
def test_any_bytes_come_back(tokenizer: Tokenizer, data: bytes) -> None:
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@pytest.mark.parametrize("text", SPECIAL_CASES)
def test_special_cases_come_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert in_batch(tokenizer, text) == [plain(tokenizer, text)]


@pytest.mark.parametrize("text", ["a\ud800b", "\udfff"])
def test_half_characters_are_refused(tokenizer: Tokenizer, text: str) -> None:
    position = str(next(n for n, character in enumerate(text) if "\ud800" <= character <= "\udfff"))
    with pytest.raises(UserError, match=f"character {position} "):
        tokenizer.encode(text)
    with pytest.raises(UserError, match="surrogate"):
        in_batch(tokenizer, text)


def test_text_in_every_language_comes_back(tokenizer: Tokenizer) -> None:
    texts = languages()
    for text, ids in zip(texts, in_batch(tokenizer, *texts), strict=True):
        assert tokenizer.decode(ids) == text


def test_fast_equals_plain_in_every_language() -> None:
    tokenizer = train("bpe")
    texts = [text[:3000] for text in languages()]
    assert in_batch(tokenizer, *texts) == [plain(tokenizer, text) for text in texts]


@pytest.mark.skipif(not SHARED.exists(), reason="GPT-2's vocabulary is not here; the fast path is proven on our own")
def test_gpt2_ids_equal_the_reference_in_every_language(gpt2: tuple[Tokenizer, GPT2TokenizerFast]) -> None:
    ours, reference = gpt2
    texts = [*languages(), *SPECIAL_CASES[:-2]]
    expected = [reference.backend_tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert in_batch(ours, *texts) == expected
    beginnings = [text[:3000] for text in texts]
    assert [ours.encode(text) for text in beginnings] == in_batch(ours, *beginnings)
    assert ours.eos_token_id == 50256
    assert ours.vocab_size == 50257


@pytest.mark.parametrize("kind", ["bpe", "characters", "bytes"])
def test_spelling_a_special_token_never_makes_one(kind: str) -> None:
    tokenizer = train(kind)
    for special in SPECIAL_TOKENS:
        text = f"a{special}b"
        assert not set(tokenizer.encode(text)) & tokenizer.special_ids
        assert not set(in_batch(tokenizer, text)[0]) & tokenizer.special_ids
        assert tokenizer.decode(tokenizer.encode(text)) == text
        meant = [*tokenizer.encode("a"), tokenizer.special_tokens[special], *tokenizer.encode("b")]
        assert tokenizer.decode(meant) == "ab"
        assert tokenizer.decode(meant, keep_special=True) == text


@pytest.mark.parametrize("text", [" " * 1_000_000, " " * 1_000_000 + "a", "a" * 300_000, "\n" * 200_000 + "x"])
def test_endless_runs_are_encoded_as_the_backend_encodes_them(text: str) -> None:
    tokenizer = train("bpe")
    (ids,) = in_batch(tokenizer, text)
    assert ids == plain(tokenizer, text)


def test_every_code_point_in_a_few_planes_is_split_alike() -> None:
    tokenizer = train("bpe")
    points = [
        *range(0x3000),
        *range(0xA000, 0xAC00),
        *range(0xF900, 0x10000),
        *range(0x10000, 0x11000),
        *range(0x1F000, 0x20000),
    ]
    texts = [
        "".join(f"a{chr(p)}b {chr(p)}1 '{chr(p)} x'{chr(p)}e {chr(p)}\n" for p in points[start : start + 500])
        for start in range(0, len(points), 500)
    ]
    assert tokenizer.fast_encoder is not backend_encoder(tokenizer)
    assert in_batch(tokenizer, *texts) == [plain(tokenizer, text) for text in texts]


def test_long_texts_are_cut_and_encoded_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_encoding, "CHUNK_CHARACTERS", 50)
    for kind in ("bpe", "characters"):
        tokenizer = train(kind)
        texts = [ENGLISH, "x" * 1000, ENGLISH[::-1]]
        assert in_batch(tokenizer, *texts) == [plain(tokenizer, text) for text in texts]


@settings(max_examples=200)
@given(text=TRICKY | UNICODE, at=st.integers(0, 60))
def test_a_safe_cut_changes_no_ids(text: str, at: int) -> None:
    cut = safe_cut(text, min(at, len(text)))
    if cut is None:
        return
    assert 0 < cut <= at
    tokenizer = TRAINED["bpe"]
    assert plain(tokenizer, text[:cut]) + plain(tokenizer, text[cut:]) == plain(tokenizer, text)


TRAINED = {"bpe": train("bpe")}


def test_a_safe_cut_is_found_where_there_is_one() -> None:
    assert safe_cut("one two three", 9) == 7
    assert safe_cut("one\ntwo", 7) == 4
    assert safe_cut("onetwo", 6) is None
    assert safe_cut("a  b", 4) is None


def test_merges_that_cannot_be_proven_go_the_plain_way(tmp_path: Path) -> None:
    tokenizer = train("bpe")
    state = json.loads(tokenizer.backend.to_str())
    state["model"]["merges"][:2] = reversed(state["model"]["merges"][:2])
    (tmp_path / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    swapped = load_tokenizer(tmp_path)
    assert fast_encoding._tiktoken_encoder(swapped) is None
    assert fast_encoding._tiktoken_encoder(tokenizer) is not None
    assert in_batch(swapped, ENGLISH) == [plain(swapped, ENGLISH)]


@pytest.mark.parametrize("kind", ["bpe", "characters", "bytes"])
def test_transformers_loads_it_and_gives_the_same_ids(kind: str, tmp_path: Path) -> None:
    tokenizer = train(kind)
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*SPECIAL_CASES, ENGLISH]:
        ids = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert list(ids) == tokenizer.encode(text)
    assert theirs.eos_token_id == tokenizer.eos_token_id
    again = load_tokenizer(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    assert again.encode(ENGLISH) == tokenizer.encode(ENGLISH)


def test_bytes_are_their_own_ids() -> None:
    assert train("bytes").encode("Aé") == [0x41, 0xC3, 0xA9]


def test_characters_are_one_token_each_and_others_are_spelt() -> None:
    tokenizer = CharactersTokenizerSettings().train(lambda: ["abc"], 3)
    assert tokenizer.vocab_size == 3 + 256 + len(SPECIAL_TOKENS)
    assert len(tokenizer.encode("abcé")) == 3 + 2


def test_the_vocabulary_grows_with_the_text() -> None:
    sizes = [suitable_vocab_size(num_bytes) for num_bytes in (1_000, 1_000_000, 4_000_000, 10**9)]
    assert sizes == [512, 1984, 3968, 32768]
    assert all(size % 64 == 0 for size in sizes)


def test_a_vocabulary_that_the_text_does_not_support_is_refused() -> None:
    with pytest.raises(UserError, match=r"vocab_size=50000 .* supports, which is \d+"):
        BPETokenizerSettings(vocab_size=50_000).train(lambda: [ENGLISH], len(ENGLISH))
    assert BPETokenizerSettings(vocab_size=300).train(lambda: [ENGLISH], len(ENGLISH)).vocab_size == 300


def test_a_tokenizer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="can be read"):
        load_tokenizer(tmp_path)


def test_bytes_without_tokens_are_refused() -> None:
    tokenizer = train("characters")
    tokenizer.__dict__["token_bytes"] = [b"a"] * 10
    with pytest.raises(UserError, match="0xFF"):
        tokenizer.encode_bytes(b"\xff")


def test_ids_come_as_unsigned_integers() -> None:
    (ids,) = train("bytes").encode_batch(["abc"])
    assert ids.dtype == np.uint32
    assert BytesTokenizerSettings().kind == "bytes"


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(max_size=300), st.sampled_from(["a", " ", "the smith", "<|im_start|>", "\n"]), st.integers(0, 60))
def test_a_text_has_no_fewer_tokens_than_its_length_says(text: str, unit: str, count: int) -> None:
    for kind in ("bpe", "characters", "bytes"):
        tokenizer = train(kind)
        whole = text + unit * count
        tokenizer.check_length(whole, len(tokenizer.encode(whole)))


def test_a_text_that_is_certainly_too_long_is_refused_at_once() -> None:
    for kind in ("bpe", "bytes"):
        with pytest.raises(TooManyTokensError, match="at least"):
            train(kind).prompt_ids("a" * 100_000, 100)


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
        {"normalizer": {"type": "Replace", "pattern": {"String": "  "}, "content": " "}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}},
        {"pre_tokenizer": {"type": "WhitespaceSplit"}},
        {"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}},
    ],
)
def test_where_text_may_vanish_its_length_says_nothing(change: dict) -> None:
    tokenizer = train("bpe")
    changed = Tokenizer(Backend.from_str(json.dumps(tokenizer.state | change)))
    changed.check_length("a" + " " * 100_000, 10)


def test_long_texts_have_the_same_ids() -> None:
    """They are encoded by another function."""
    tokenizer = train("bpe")
    assert len(ENGLISH) > LONG_TEXT
    assert tokenizer.encode(ENGLISH) == tokenizer.backend.encode(ENGLISH, add_special_tokens=False).ids
