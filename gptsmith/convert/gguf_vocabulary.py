"""A tokenizer in a GGUF file: tokens with their types, merges or scores, and the name of the way to split text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.convert.gguf_pretokenizers import DIGIT, PRETOKENIZERS, name_of
from gptsmith.text.pretokenization import GPT2_SPLIT
from gptsmith.text.tokenizer import BYTE_FALLBACK, SPACE, TURN_END, Tokenizer

COMPOSES = "gptsmith.tokenizer.composes"
"""A key of our own in a GGUF file: whether characters are to be composed (NFC) before a text is split, which llama.cpp
leaves to whoever calls it."""


class Type(IntEnum):
    """The type of a token to llama.cpp."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class GGUFVocabulary:
    """The tokenizer's part of a GGUF file.

    Attributes:
        model: `gpt2` for merges of bytes, `llama` for SentencePiece.
        pre: the name of the way to split text.
        tokens: the tokens, by id.
        types: the type of each.
        merges: pairs in their order, with a space between.
        scores: of each token; empty unless tokens are merged by their scores.
        ids: ids by llama.cpp's names: `eos`, `bos`, and others where there are some.
        adds_bos: whether `bos` stands before every text.
        adds_space: whether a space does.
        composes: see `COMPOSES`.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[Type]
    merges: list[str]
    scores: list[float]
    ids: dict[str, int]
    adds_bos: bool
    adds_space: bool
    composes: bool


def vocabulary_of(tokenizer: Tokenizer, num_rows: int) -> GGUFVocabulary:
    """The vocabulary of a tokenizer, with unused tokens behind it up to the rows of the embedding.

    Raises:
        UserError: llama.cpp has no tokenizer that gives the same ids; the message names the part.
    """
    model = tokenizer.state["model"]
    if model["type"] != "BPE" or model.get("end_of_word_suffix") or model.get("continuing_subword_prefix"):
        raise _unsaid(f"tokens of the model {model['type']}, or tokens with marks at their ends")
    if len(tokenizer.bos_ids) > 1:
        raise _unsaid(f"{len(tokenizer.bos_ids)} tokens before every text")
    normal, split = (_parts(tokenizer.state[key]) for key in ("normalizer", "pre_tokenizer"))
    is_piece = model["byte_fallback"] and SPACE in str([*normal, *split])
    tokens, types = _tokens(tokenizer, num_rows, is_piece)
    shared: dict[str, Any] = {
        "tokens": tokens,
        "types": types,
        "ids": _ids(tokenizer),
        "adds_bos": bool(tokenizer.bos_ids),
    }
    if is_piece:
        scores = _scores(tokens, types, model["merges"])
        space = _adds_space([*normal, *split])
        return GGUFVocabulary("llama", "default", **shared, merges=[], scores=scores, adds_space=space, composes=False)
    if odd := [part["type"] for part in normal if part["type"] != "NFC"]:
        raise _unsaid(f"the normalizer {odd[0]}")
    # It asks for a list of merges that is not empty; a token that is a pair of special tokens never comes up in a text.
    merges = [" ".join(pair) for pair in model["merges"]] or [f"{tokenizer.eos_token} {tokenizer.eos_token}"]
    return GGUFVocabulary(
        "gpt2", _split_name(split), **shared, merges=merges, scores=[], adds_space=False, composes=bool(normal)
    )


def _unsaid(what: str) -> UserError:
    return UserError(
        f"llama.cpp knows no tokenizer with {what} (it knows merges of bytes split as by "
        f"{', '.join(found.names[0] for found in PRETOKENIZERS)}, such as the tokenizer bpe makes, and SentencePiece's)"
    )


def _parts(component: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The parts of a normalizer or a pre-tokenizer, in their order."""
    if component is None:
        return []
    inner = component.get("pretokenizers", component.get("normalizers"))
    return [component] if inner is None else [part for each in inner for part in _parts(each)]


def _split_name(parts: Sequence[Mapping[str, Any]]) -> str:
    splits: list[str] = []
    for part in parts:
        match part:
            case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": bool(splits_too)}:
                splits += [GPT2_SPLIT] if splits_too else []
            case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False}:
                splits.append(pattern)
            case {"type": "Digits", "individual_digits": True}:
                splits.append(DIGIT)
            case _:
                raise _unsaid(f"the pre-tokenizer {part['type']}")
    name = name_of(splits)
    if name is None or parts[-1]["type"] != "ByteLevel":
        raise _unsaid(f"text split by {' and '.join(splits) or 'nothing'}")
    return name


def _tokens(tokenizer: Tokenizer, num_rows: int, is_piece: bool) -> tuple[list[str], list[Type]]:
    added = {token["id"]: token["special"] for token in tokenizer.state["added_tokens"]}
    unknown = tokenizer.state["model"]["unk_token"]
    tokens, types = [f"[unused {number}]" for number in range(num_rows)], [Type.UNUSED] * num_rows
    for token, number in tokenizer.backend.get_vocab(with_added_tokens=True).items():
        tokens[number] = token
        if is_piece and token == unknown:
            types[number] = Type.UNKNOWN
        elif number in added:
            types[number] = Type.CONTROL if added[number] else Type.USER_DEFINED
        elif is_piece and BYTE_FALLBACK.fullmatch(token):
            types[number] = Type.BYTE
        else:
            types[number] = Type.NORMAL
    return tokens, types


def _scores(tokens: Sequence[str], types: Sequence[Type], merges: Sequence[Sequence[str]]) -> list[float]:
    """The higher, the sooner two tokens become this one."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault("".join(pair), rank)
    last = float(len(merges))
    return [
        -float(ranks.get(token, last)) if kind == Type.NORMAL else 0.0
        for token, kind in zip(tokens, types, strict=True)
    ]


def _adds_space(parts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether SentencePiece's parts put a space before a text."""
    adds = False
    for part in parts:
        match part:
            case {"type": "Prepend", "prepend": text} if text == SPACE:
                adds = True
            case {"type": "Replace", "pattern": {"String": " "}, "content": text} if text == SPACE:
                pass
            case {"type": "Metaspace", "replacement": text, "prepend_scheme": "never"} if text == SPACE:
                pass
            case {"type": "Split", "pattern": {"String": " "}}:  # Gemma's, which finds none: they were replaced before
                pass
            case {"type": "Metaspace"}:
                # llama.cpp puts a space before every text and behind every special token, as SentencePiece does.
                raise _unsaid(
                    "Metaspace that puts a space before texts that do not begin with one, and before no other"
                )
            case _:
                raise _unsaid(f"the part {part['type']} beside SentencePiece's")
    return adds


def _ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Without a `bos` of its own, llama.cpp would take an id that is another token's."""
    named = None if tokenizer.bos_token is None else tokenizer.backend.token_to_id(tokenizer.bos_token)
    bos = next(iter(tokenizer.bos_ids), named)
    ids = {"eos": tokenizer.eos_token_id, "bos": tokenizer.eos_token_id if bos is None else bos}
    turn_end = tokenizer.backend.token_to_id(TURN_END)
    ends = sorted(tokenizer.end_ids - {tokenizer.eos_token_id}, key=lambda number: (number != turn_end, number))
    if ends:
        ids["eot"] = ends[0]
    unknown = tokenizer.state["model"]["unk_token"]
    if (number := tokenizer.backend.token_to_id(unknown) if unknown else None) is not None:
        ids["unknown"] = number
    return ids
