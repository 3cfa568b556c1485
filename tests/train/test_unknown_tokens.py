"""A tokenizer that cannot spell the text is warned of, with the share of unknown tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.text.load import load_tokenizer
from gptsmith.train.unknown_tokens import unknown_tokens


@pytest.mark.parametrize(("text", "share"), [("old " * 300 + "mill " * 100, "24.9%"), ("old " * 400, None)])
def test_the_share_of_unknown_tokens_is_said(tmp_path: Path, text: str, share: str | None) -> None:
    backend = Backend(WordLevel({"[UNK]": 0, "old": 1, "<|done|>": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    backend.add_special_tokens(["<|done|>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|done|>"}', encoding="utf-8")
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    settings = DataSettings(validation_fraction=0.0)
    data = prepare([tmp_path / "text.txt"], settings=settings, tokenizer=load_tokenizer(tmp_path), seed=1)
    warning = unknown_tokens(data)
    assert bool(warning) == (share is not None)
    if share is not None:
        assert f"{share} of its tokens are the unknown token [UNK]" in warning
