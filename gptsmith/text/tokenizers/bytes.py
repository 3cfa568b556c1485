"""One token per byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

from tokenizers import AddedToken, models

from gptsmith.text.tokenizer import SPECIAL_TOKENS, Tokenizer, byte_letters
from gptsmith.text.tokenizers import TokenizerSettings
from gptsmith.text.tokenizers.bpe import byte_level_backend


class BytesTokenizerSettings(TokenizerSettings):
    """256 tokens, whose ids are the bytes. Any text and any bytes have tokens; nothing is learnt."""

    kind: Literal["bytes"] = "bytes"
    learns_from_text: ClassVar[bool] = False

    def train(self, texts: Callable[[], Iterable[str]], num_bytes: int) -> Tokenizer:
        backend = byte_level_backend()
        backend.model = models.BPE({letter: byte for byte, letter in byte_letters().items()}, [])
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
        return Tokenizer(backend)
