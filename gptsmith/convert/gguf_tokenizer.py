"""A tokenizer from the keys of a GGUF file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as Backend

from gptsmith.base.errors import ConversionError, UserError, one_line, shown
from gptsmith.base.json_text import json_text
from gptsmith.convert.gguf_pretokenizers import all_names, named, pre_tokenizer_state
from gptsmith.convert.gguf_vocabulary import COMPOSES, Type
from gptsmith.text.fast_encoding import is_panic
from gptsmith.text.tokenizer import SPACE, Tokenizer

PREFIX = "tokenizer.ggml."
MAX_TOKEN_CHARACTERS = 2000
USUAL_IDS = {"llama": {"bos": 1, "eos": 2, "unknown": 0}, "gpt2": {}}
"""The ids of a file that does not name them, as llama.cpp takes them."""
OTHER_ENDS = ("eot", "eom")
END_SPELLINGS = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>", "</s>",
    "<|eom_id|>", "<|end_of_text|>", "<EOT>", "<eos>", "<end_of_utterance>",
)  # fmt: skip
"""Special tokens that end a text whether the file says so or not, as in llama.cpp."""
NAMED = {"unknown": "unk_token", "padding": "pad_token", "seperator": "sep_token", "mask": "mask_token"}
"""llama.cpp's names (the third is spelt so) and Transformers'."""


def tokenizer_of(keys: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that the keys of a file say: its ids are llama.cpp's.

    Raises:
        ConversionError: its model or its way to split text is not known, or its parts do not fit each other.
    """
    words = _Words(keys)
    state = words.pieces() if words.model == "llama" else words.byte_merges()
    try:
        backend = Backend.from_str(json_text(state))
        found = Tokenizer(backend, words.spelling("eos"), words.bos_token, words.ends(), words.extra())
    except BaseException as error:  # the library raises bare exceptions, and panics
        if isinstance(error, UserError) or (not isinstance(error, Exception) and not is_panic(error)):
            raise
        raise ConversionError(f"its tokens and merges are no tokenizer: {one_line(error)}") from None
    if found.bos_ids != (() if words.bos_id is None else (words.bos_id,)):
        raise ConversionError(f"{PREFIX}bos_token_id is not what stands before every text")
    return found


class _Words:
    """The tokenizer's keys, checked."""

    def __init__(self, keys: Mapping[str, Any]) -> None:
        self.keys = keys
        self.model = self.get("model", str)
        if self.model not in USUAL_IDS:
            raise ConversionError(
                f"{PREFIX}model={shown(self.model)} is not known (known: gpt2, of merged bytes, and llama, of "
                "SentencePiece)"
            )
        tokens = self.array("tokens", str)
        self.tokens = [token or f"[EMPTY_{number}]" for number, token in enumerate(tokens)]
        self.ids_by_token = {token: number for number, token in enumerate(self.tokens)}
        if not tokens or len(self.ids_by_token) < len(tokens):
            raise ConversionError(f"{PREFIX}tokens holds no token, or one twice")
        if longest := [token for token in self.tokens if len(token) > MAX_TOKEN_CHARACTERS]:
            raise ConversionError(
                f"a token has {len(longest[0]):,} characters (at most {MAX_TOKEN_CHARACTERS:,} are allowed)"
            )
        self.types = self.array("token_type", int, [Type.NORMAL] * len(tokens))
        if len(self.types) != len(tokens):
            raise ConversionError(f"{len(tokens):,} tokens have {len(self.types):,} types")
        ids = {"bos", "eos", *OTHER_ENDS, *NAMED}
        self.ids = {name: number for name in ids if (number := self._id(name)) is not None}
        if "eos" not in self.ids:
            raise ConversionError(f"no token that ends a text is named ({PREFIX}eos_token_id)")
        self._mark_special()
        # llama.cpp's list ends with rows that no text is encoded to; they are none of the tokenizer's.
        self.count = max((n + 1 for n, kind in enumerate(self.types) if kind != Type.UNUSED), default=0)
        self.count = max(self.count, *(number + 1 for number in self.ids.values()))
        pretokenizer = named(self.keys.get(f"{PREFIX}pre")) if self.model == "gpt2" else None
        adds = self.model == "llama" or (pretokenizer is not None and pretokenizer.adds_bos)
        adds = self.get("add_bos_token", bool, adds)
        if adds and "bos" not in self.ids:
            raise ConversionError(f"{PREFIX}add_bos_token is true, and no bos_token_id is named")
        self.bos_id = self.ids["bos"] if adds else None

    def get(self, name: str, kind: type, default: Any = None) -> Any:
        value = self.keys.get(PREFIX + name, default)
        if not isinstance(value, kind):
            raise ConversionError(f"{PREFIX}{name}={shown(value)} is no {kind.__name__}")
        return value

    def array(self, name: str, kind: type, default: list[Any] | None = None) -> list[Any]:
        found: list[Any] = self.get(name, list, default)
        if not all(isinstance(value, kind) for value in found):
            raise ConversionError(f"{PREFIX}{name} holds another type than {kind.__name__}")
        return found

    def _id(self, name: str) -> int | None:
        """A token's id; None if the file and llama.cpp have none, or it is out of range."""
        number = self.keys.get(f"{PREFIX}{name}_token_id", USUAL_IDS[self.model].get(name))
        return number if isinstance(number, int) and 0 <= number < len(self.tokens) else None

    def _mark_special(self) -> None:
        """Makes the tokens special that end a text by their spelling, and those that the file names as its ends."""
        for name in ("eos", *OTHER_ENDS):
            if name in self.ids:
                self.types[self.ids[name]] = Type.CONTROL
        if self.bos_id_is_named():
            self.types[self.ids["bos"]] = Type.CONTROL
        for number in (self.ids_by_token.get(spelling) for spelling in END_SPELLINGS):
            if number is not None and self.types[number] == Type.USER_DEFINED:
                self.types[number] = Type.CONTROL

    def bos_id_is_named(self) -> bool:
        """Whether the file itself names a token that begins a text."""
        return f"{PREFIX}bos_token_id" in self.keys and "bos" in self.ids

    def spelling(self, name: str) -> str:
        return self.tokens[self.ids[name]]

    @property
    def bos_token(self) -> str | None:
        """The token that begins a text; None if it only repeats the one that ends it, for programs that want one."""
        if "bos" not in self.ids or (self.bos_id is None and self.ids["bos"] == self.ids["eos"]):
            return None
        return self.spelling("bos")

    def ends(self) -> list[str]:
        """The other tokens that end a text."""
        special = {self.tokens[n] for n, kind in enumerate(self.types[: self.count]) if kind == Type.CONTROL}
        spelt = [spelling for spelling in END_SPELLINGS if spelling in special]
        if {"<|return|>", "<|call|>", "<|end|>"} <= special:
            spelt.remove("<|end|>")  # ends a channel there, and the text goes on
        found = [*(self.spelling(name) for name in OTHER_ENDS if name in self.ids), *spelt]
        return [token for token in dict.fromkeys(found) if token != self.spelling("eos")]

    def extra(self) -> dict[str, Any]:
        return {theirs: self.spelling(name) for name, theirs in NAMED.items() if name in self.ids}

    def byte_merges(self) -> dict[str, Any]:
        name = self.keys.get(f"{PREFIX}pre")
        pretokenizer = named(name)
        if pretokenizer is None:
            raise ConversionError(f"{PREFIX}pre={shown(name)} is not known (known: {', '.join(all_names())})")
        model = {"merges": list(self._pairs()), "ignore_merges": pretokenizer.ignores_merges}
        composes = self.keys.get(COMPOSES) is True
        return self._state(
            model=model,
            normalizer={"type": "NFC"} if composes else None,
            pre_tokenizer=pre_tokenizer_state(pretokenizer.splits),
            decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        )

    def _pairs(self) -> Iterator[list[str]]:
        for merge in self.array("merges", str):
            left, space, right = merge[1:].partition(" ")
            pair = [merge[:1] + left, right]
            is_special = all(self._type(part) == Type.CONTROL for part in pair)
            if not space or not right or not all(part in self.ids_by_token for part in pair):
                raise ConversionError(f"the merge {shown(merge)} is no pair of tokens")
            if not is_special:  # which never stand in a text, so the pair is there to fill an empty list
                yield pair

    def _type(self, token: str) -> int | None:
        number = self.ids_by_token.get(token)
        return None if number is None else self.types[number]

    def pieces(self) -> dict[str, Any]:
        scores = self.array("scores", float)
        if len(scores) != len(self.tokens) or not all(map(math.isfinite, scores)):
            raise ConversionError(f"{len(self.tokens):,} tokens have {len(scores):,} scores, or one is not finite")
        unknown = next((n for n, kind in enumerate(self.types) if kind == Type.UNKNOWN), self.ids.get("unknown"))
        if unknown is None:
            raise ConversionError("no token stands for what cannot be spelt")
        adds_space = self.get("add_space_prefix", bool, True)
        spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
        before = [{"type": "Prepend", "prepend": SPACE}] if adds_space else []
        after = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if adds_space else []
        replaced = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
        return self._state(
            model={
                "merges": self._scored_pairs(scores),
                "unk_token": self.tokens[unknown],
                "fuse_unk": True,
                "byte_fallback": True,
            },
            normalizer={"type": "Sequence", "normalizers": [*before, spaces]},
            pre_tokenizer=None,
            decoder={"type": "Sequence", "decoders": [replaced, {"type": "ByteFallback"}, {"type": "Fuse"}, *after]},
        )

    def _scored_pairs(self, scores: Sequence[float]) -> list[list[str]]:
        """Every pair of tokens that makes a token, those of high scores first."""
        normal = {t: n for n, t in enumerate(self.tokens[: self.count]) if self.types[n] == Type.NORMAL}
        found = [
            (-scores[number], token[:place], token[place:])
            for token, number in normal.items()
            for place in range(1, len(token))
            if token[:place] in normal and token[place:] in normal
        ]
        found.sort(key=lambda row: row[0])  # of one score, in the order of their ids
        return [[left, right] for _, left, right in found]

    def _state(self, model: dict[str, Any], **parts: Any) -> dict[str, Any]:
        """A tokenizer.json."""
        plain = {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(self.tokens[: self.count])},
        }  # fmt: skip
        added = [
            {
                "id": number, "content": self.tokens[number], "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": self.types[number] != Type.USER_DEFINED,
            }
            for number in range(self.count)
            if self.types[number] in (Type.CONTROL, Type.UNKNOWN, Type.USER_DEFINED)
        ]  # fmt: skip
        return {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, **parts,
            "post_processor": self._post_processor(), "model": plain | model,
        }  # fmt: skip

    def _post_processor(self) -> dict[str, Any] | None:
        if self.bos_id is None:
            return None
        bos = self.spelling("bos")
        begin = {"SpecialToken": {"id": bos, "type_id": 0}}
        texts = [{"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB")]
        return {
            "type": "TemplateProcessing", "single": [begin, texts[0]], "pair": [begin, *texts],
            "special_tokens": {bos: {"id": bos, "ids": [self.bos_id], "tokens": [bos]}},
        }  # fmt: skip
