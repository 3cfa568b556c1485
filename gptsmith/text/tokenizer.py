"""Text to token ids and back."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Backend

from gptsmith.base.errors import DataError
from gptsmith.base.files import write_atomically
from gptsmith.base.json_text import json_text
from gptsmith.text.chunk_boundaries import ends_words_at_cuts, takes_single_characters
from gptsmith.text.fast_encoding import Encoder, backend_ids, encode_batch, fast_encoder, text_chunks
from gptsmith.text.surrogates import refuse_surrogates
from gptsmith.text.tokenizer_limits import components

EOS_TOKEN = "<|endoftext|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (EOS_TOKEN, TURN_START, TURN_END)
"""The special tokens of every tokenizer that we train: the end of a document, and the turns of a conversation."""

SPACE = "\u2581"
"""How SentencePiece writes a space in its tokens."""
BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


def byte_letters() -> dict[int, str]:
    """GPT-2's letter for each byte: a printable character that stands for it in a vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in letters)
    return letters | {byte: chr(256 + number) for number, byte in enumerate(others)}


class TooManyTokensError(DataError):
    """A text that is too long, whatever its tokens are."""

    def __init__(self, at_least: int, max_tokens: int) -> None:
        super().__init__(
            f"the prompt has at least {at_least} tokens and the model's context holds {max_tokens}: shorten it"
        )


class Tokenizer:
    """A tokenizer: a Hugging Face `tokenizers` backend, whose JSON form is the one truth about it.

    Attributes:
        eos_token: the token that ends a document.
        eos_token_id: its id.
        bos_token: the token that begins a document; None if it has none of its own.
        end_tokens: tokens that end generation, besides the EOS token and the end of a turn.
        extra: further entries of tokenizer_config.json that a copy keeps: other named tokens, such as `pad_token`, and
            the padding side.
        vocab_size: number of tokens, special ones included.
    """

    def __init__(
        self,
        backend: Backend,
        eos_token: str = EOS_TOKEN,
        bos_token: str | None = None,
        end_tokens: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        # Text that spells a special token stays text.
        backend.encode_special_tokens = True
        self.backend = backend
        self.eos_token, self.bos_token, self.end_tokens = eos_token, bos_token, tuple(end_tokens)
        self.extra = dict(extra or {})
        found = backend.token_to_id(eos_token)
        if found is None:
            raise DataError(f"this tokenizer has no token {eos_token} to end a document with")
        self.eos_token_id: int = found
        self.vocab_size: int = max(backend.get_vocab(with_added_tokens=True).values()) + 1

    def ending_with(self, end_tokens: Sequence[str]) -> Tokenizer:
        """The same tokenizer with other end tokens."""
        return Tokenizer(self.backend, self.eos_token, self.bos_token, end_tokens, self.extra)

    @cached_property
    def named_tokens(self) -> dict[str, str]:
        """The special tokens that have a name, by it: `eos_token`, `bos_token`, `pad_token`, ..., as chat templates and
        Transformers call them."""
        named = {"eos_token": self.eos_token, **({"bos_token": self.bos_token} if self.bos_token else {})}
        return named | {name: token for name, token in self.extra.items() if name.endswith("_token")}

    @cached_property
    def state(self) -> dict:
        """The backend as JSON."""
        state: dict = json.loads(self.backend.to_str())
        return state

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the backend's JSON form, with keys in order."""
        return hashlib.sha256(json_text(self.state, sort_keys=True).encode()).hexdigest()

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """The ids of the special tokens, which no text is encoded to."""
        return {token["content"]: token["id"] for token in self.state["added_tokens"] if token["special"]}

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of the special tokens, which no text is encoded to."""
        return frozenset(self.special_tokens.values())

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """The ids that end generation: the EOS token, the end of a turn, and the model's own end tokens."""
        others = (self.backend.token_to_id(token) for token in (TURN_END, *self.end_tokens))
        return frozenset({self.eos_token_id, *(number for number in others if number is not None)})

    @cached_property
    def unknown_id(self) -> int | None:
        """The id of what the tokenizer cannot spell; None if it can spell everything."""
        token = getattr(self.backend.model, "unk_token", None)
        number = None if not token else self.backend.token_to_id(token)
        return None if number == self.eos_token_id else number

    @cached_property
    def bos_ids(self) -> tuple[int, ...]:
        """The ids that this tokenizer puts before every text: none for ours, the BOS token for Llama's."""
        plain, whole = (list(self.backend.encode("a", add_special_tokens=special).ids) for special in (False, True))
        starts = range(len(whole) - len(plain) + 1)
        return tuple(whole[: next(at for at in starts if whole[at : at + len(plain)] == plain)])

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of text that each token stands for; none for special tokens."""
        kinds = {part["type"] for part in components(self.state["decoder"])}
        result = [b""] * self.vocab_size
        letters = {letter: byte for byte, letter in byte_letters().items()}
        for token, number in self.backend.get_vocab(with_added_tokens=True).items():
            if number in self.special_ids:
                continue
            fallback = BYTE_FALLBACK.fullmatch(token) if "ByteFallback" in kinds else None
            if fallback:
                result[number] = bytes([int(fallback[1], 16)])
            elif "ByteLevel" in kinds and all(letter in letters for letter in token):
                result[number] = bytes(letters[letter] for letter in token)
            elif kinds <= {"ByteFallback", "Fuse", "ByteLevel"}:
                result[number] = token.encode()
            elif self._space is not None and number not in self._added_ids:
                # Decoded alone it would lose the space that it begins or ends with.
                result[number] = token.replace(self._space, " ").encode()
            else:
                result[number] = self.backend.decode([number]).encode()
        return result

    @cached_property
    def num_bytes_per_token(self) -> np.ndarray:
        """(V), int64: how many bytes of UTF-8 each token stands for; 0 for special tokens."""
        return np.array([len(token) for token in self.token_bytes], np.int64)

    @cached_property
    def _max_characters_per_token(self) -> float:
        """The most characters of a text that one token stands for; infinite where text may vanish before it becomes
        tokens: by a normalizer, a split that removes, a token that takes in the spaces beside it, or an unknown one."""
        state = self.state
        spelt = {part["type"] for part in components(state["decoder"])} & {"ByteLevel", "ByteFallback"}
        shrinking = [part for part in components(state["normalizer"]) if part["type"] not in ("Prepend", "Replace")]
        pretokenizers = components(state["pre_tokenizer"])
        shrinking += [
            part for part in pretokenizers if part["type"] not in ("ByteLevel", "Split", "Digits", "Metaspace")
        ]
        shrinking += [part for part in pretokenizers if part.get("behavior") == "Removed"]
        for part in components(state["normalizer"]):
            pattern = part.get("pattern", {}).get("String", "")
            if part["type"] == "Replace" and not 0 < len(pattern) <= len(part["content"]):
                shrinking.append(part)
        shrinking += [token for token in state["added_tokens"] if token["lstrip"] or token["rstrip"]]
        is_complete = len({token for token in self.token_bytes if len(token) == 1}) == 256
        if not (spelt and is_complete) or shrinking:
            return math.inf
        return max(1, *map(len, self.token_bytes), *map(len, self.special_tokens))

    @cached_property
    def fast_encoder(self) -> Encoder:
        """The encoder of `encode_batch`. Proving that it is exact takes a second for a large vocabulary."""
        return fast_encoder(self)

    @cached_property
    def _added_ids(self) -> frozenset[int]:
        return frozenset(token["id"] for token in self.state["added_tokens"])

    @cached_property
    def _space(self) -> str | None:
        """The spelling of a space inside tokens: U+2581 as SentencePiece writes it, or GPT-1's end of a word; None if
        tokens are spelt otherwise."""
        for part in components(self.state["decoder"]):
            if part["type"] == "Metaspace" or (part["type"] == "Replace" and part["pattern"] == {"String": SPACE}):
                return SPACE
            if part["type"] == "BPEDecoder":
                return str(part["suffix"])
        return None

    @cached_property
    def _inner_backend(self) -> Backend:
        """The backend for text that does not begin a document: one that would put a space before the first word alone
        puts none."""
        state = json.loads(self.backend.to_str())
        changed = False
        for part in components(state["pre_tokenizer"]):
            if part["type"] == "Metaspace" and part.get("prepend_scheme") == "first":
                part["prepend_scheme"], changed = "never", True
        if not changed:
            return self.backend
        inner = Backend.from_str(json_text(state))
        inner.encode_special_tokens = True
        return inner

    def special_matches(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Where special tokens stand in a text that spells them: start, end, id; with the white space that a token
        takes in (`lstrip`, `rstrip`), and only where it may stand (`single_word`)."""
        if self._special_finder is None:
            for match in self._special_pattern.finditer(text):
                yield match.start(), match.end(), self.special_tokens[match[0]]
            return
        found = self._special_finder.encode(text, add_special_tokens=False)
        for place, (start, end) in zip(found.ids, found.offsets, strict=True):
            token = self.state["added_tokens"][place - 1]
            if place and token["special"]:
                yield start, end, token["id"]

    def encode_spelt(self, text: str) -> list[int] | None:
        """The ids of a whole text in which special tokens are spelt, as the backend finds them; None where each stands
        wherever it is spelt, and `special_matches` finds the same."""
        return None if self._spelt_backend is None else backend_ids(self._spelt_backend, text)

    @cached_property
    def _spelt_backend(self) -> Backend | None:
        if self._special_finder is None:
            return None
        backend = Backend.from_str(self.backend.to_str())
        backend.encode_special_tokens = False
        return backend

    @cached_property
    def _special_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, sorted(self.special_tokens, key=len, reverse=True))) or r"(?!)")

    @cached_property
    def _special_finder(self) -> Backend | None:
        """A backend that knows added tokens only, by their places among them, from 1; None if each special token stands
        wherever it is spelt."""
        flags = ("lstrip", "rstrip", "single_word", *(("normalized",) if self.state["normalizer"] else ()))
        if not any(token["special"] and any(token[flag] for flag in flags) for token in self.state["added_tokens"]):
            return None
        other = "\x00other"
        parts = {"pre_tokenizer": None, "post_processor": None, "decoder": None}
        model = {"type": "WordLevel", "vocab": {other: 0}, "unk_token": other}
        tokens = [{**token, "id": number} for number, token in enumerate(self.state["added_tokens"], 1)]
        return Backend.from_str(json_text({**self.state, **parts, "model": model, "added_tokens": tokens}))

    def prompt_ids(self, text: str, max_tokens: int | None = None) -> list[int]:
        """The ids of a prompt that a model continues: the BOS ids and the text's; the EOS token alone if there are
        none, which begins a new document.

        Raises:
            DataError: the text holds half of a surrogate pair.
            TooManyTokensError: it is certainly longer than `max_tokens`, of which None is no bound.
        """
        self.check_length(text, max_tokens)
        ids = self.encode(text) if text else []
        return [*self.bos_ids, *ids] if self.bos_ids else ids or [self.eos_token_id]

    def check_length(self, text: str, max_tokens: int | None) -> None:
        """Refuses a text that is certainly too long, at once, by its length; None refuses nothing.

        Raises:
            TooManyTokensError: it has more than `max_tokens` tokens.
        """
        at_least = math.ceil(len(text) / self._max_characters_per_token)
        if max_tokens is not None and at_least > max_tokens:
            raise TooManyTokensError(at_least, max_tokens)

    def encode_inside(self, text: str) -> list[int]:
        """The ids of a text that stands behind a special token.

        Raises:
            DataError: the text holds half of a surrogate pair, which is no character.
        """
        refuse_surrogates(text)
        return self._ids_in_chunks(self._inner_backend, text)

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Thread-safe.

        Raises:
            DataError: the text holds half of a surrogate pair, which is no character.
        """
        refuse_surrogates(text)
        return self._ids_in_chunks(self.backend, text)

    def _ids_in_chunks(self, backend: Backend, text: str) -> list[int]:
        """The ids of a text, by chunks where that is known to give the same: what the backend gives for two million
        tokens at once takes so long to free that all other threads stop."""
        ids: list[int] = []
        for chunk in self.chunks(text):
            ids += backend_ids(backend, chunk)
        return ids

    def chunks(self, text: str) -> Iterator[str]:
        """A text in chunks whose ids, joined, are those of the whole: the whole, where that is not known of any."""
        if self._can_be_cut:
            return text_chunks(text, anywhere=takes_single_characters(self.state))
        return iter([text])

    @cached_property
    def _can_be_cut(self) -> bool:
        return ends_words_at_cuts(self.state)

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of bytes: what is UTF-8 as text, the rest byte by byte.

        Raises:
            DataError: a byte is not UTF-8, and this tokenizer has no token for it.
        """
        single = {token[0]: number for number, token in enumerate(self.token_bytes) if len(token) == 1}
        ids: list[int] = []
        for part in re.split("([\udc80-\udcff]+)", data.decode("utf-8", "surrogateescape")):
            if part and "\udc80" <= part[0] <= "\udcff":
                raw = part.encode("utf-8", "surrogateescape")
                if missing := [byte for byte in raw if byte not in single]:
                    raise DataError(f"byte 0x{missing[0]:02X} is not UTF-8, and this tokenizer has no token for it")
                ids += [single[byte] for byte in raw]
            elif part:
                ids += self.encode(part)
        return ids

    def encode_batch(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """The ids of each text, uint32, in order, on the fastest path that is proven to give the same ids.

        Raises:
            DataError: a text holds half of a surrogate pair.
        """
        return encode_batch(self, texts)

    def decode(self, ids: Sequence[int], *, keep_special: bool = False, begins: bool = True) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD, special tokens are dropped unless they are kept.

        Args:
            begins: whether the ids begin a text: a space that encoding puts before the first word is left out.
        """
        data = self.decode_bytes(ids, keep_special=keep_special)
        if begins and ids and not (keep_special and ids[0] in self.special_ids):
            data = data.removeprefix(self._beginning)
        return data.decode("utf-8", "replace")

    @cached_property
    def _beginning(self) -> bytes:
        """The bytes that encoding puts before a text: a space, in the manner of SentencePiece, or none."""
        data = self.decode_bytes(self.encode("a"))
        return data[:-1] if data.endswith(b"a") else b""

    def decode_bytes(self, ids: Sequence[int], *, keep_special: bool = False) -> bytes:
        """The bytes of ids."""
        if not keep_special:
            return b"".join(self._bytes_of(number) for number in ids)
        return b"".join(
            str(self.backend.id_to_token(number)).encode() if number in self.special_ids else self._bytes_of(number)
            for number in ids
        )

    def _bytes_of(self, number: int) -> bytes:
        # An embedding may have more rows than there are tokens: vocabularies are padded to a multiple.
        return self.token_bytes[number] if number < self.vocab_size else b""

    def save(self, folder: Path, *, model_max_length: int = 10**9) -> None:
        """Writes tokenizer.json and tokenizer_config.json, which Transformers reads; `model_max_length` is the most
        tokens that it lets through without a warning."""
        config = {
            # Without it AutoTokenizer may put another family's way of splitting in.
            "tokenizer_class": "PreTrainedTokenizerFast",
            **self.extra,
            **self.named_tokens,
            **({"end_tokens": list(self.end_tokens)} if self.end_tokens else {}),
            "clean_up_tokenization_spaces": False,
            "model_max_length": model_max_length,
        }
        write_atomically(folder / "tokenizer.json", self.backend.to_str(pretty=True))
        write_atomically(folder / "tokenizer_config.json", json_text(config, indent=2) + "\n")
