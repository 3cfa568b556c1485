"""A tokenizer from the files that it was saved in."""

from __future__ import annotations

from pathlib import Path

from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.huggingface import HuggingFaceTokenizerSettings


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer in a folder, or in a tokenizer.json.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    return HuggingFaceTokenizerSettings(path=str(path)).train(list, 0)
