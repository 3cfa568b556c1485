"""A tokenizer.json of a stranger: what it does to a text is bounded by the text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from gptsmith.base.errors import DataError, UserError
from gptsmith.text.fast_encoding import backend_ids
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


HOSTILE: dict[str, dict[str, Any]] = {
    "a pattern without bound": {"pre_tokenizer": split("(a+)+$")},
    "one in a sequence": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split("a"), split("(a|a)*b")]}},
    "one that replaces": {"normalizer": replace({"Regex": "(a+)+b"}, "x")},
    "one that decodes": {"decoder": replace({"Regex": "(a+)+b"}, "x")},
    "a pattern too large to compile": {"pre_tokenizer": split("(((a{900}){900}){900})")},
    "a long replacement": {"normalizer": replace({"String": "a"}, "x" * 1_000_000)},
    "a long beginning": {"normalizer": {"type": "Prepend", "prepend": "x" * 1_000_000}},
    "doubled texts": {"normalizer": {"type": "Sequence", "normalizers": [replace({"String": "a"}, "aa")] * 60}},
    "doubled patterns": {"normalizer": {"type": "Sequence", "normalizers": [replace({"Regex": "."}, "aa")] * 60}},
    "many parts": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 1000}},
}


def save(folder: Path, **changes: Any) -> None:
    BytesTokenizerSettings().train(list, 0).save(folder)
    state = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(state | changes))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tokenizer_without_bound_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    save(tmp_path, **HOSTILE[name])
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be used") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_padding_and_truncation_of_batches_are_no_part_of_a_text(tmp_path: Path) -> None:
    padding = {"strategy": {"Fixed": 1000}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
               "pad_type_id": 0, "pad_token": "<|endoftext|>"}  # fmt: skip
    truncation = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    save(tmp_path, padding=padding, truncation=truncation)
    assert load_tokenizer(tmp_path).decode(load_tokenizer(tmp_path).encode("abcdef")) == "abcdef"
    assert len(load_tokenizer(tmp_path).encode("abcdef")) == 6


def test_a_pattern_that_gives_up_is_an_error_for_people() -> None:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")  # as nothing that is loaded has it
    with pytest.raises(DataError, match="the tokenizer fails on a text of 31 characters"):
        backend_ids(backend, "a" * 30 + "b")
