"""Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019), split as Qwen2 splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Literal

from pydantic import Field
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from gptsmith.base.errors import ConfigurationError
from gptsmith.text.pretokenization import QWEN2_SPLIT
from gptsmith.text.tokenizer import SPECIAL_TOKENS, Tokenizer, byte_letters
from gptsmith.text.tokenizers import TokenizerSettings

MIN_VOCAB_SIZE = 256 + len(SPECIAL_TOKENS)
TRAINING_BYTES = 100_000_000


class BPETokenizerSettings(TokenizerSettings):
    """Tokens are merged from bytes, the most frequent pair first. Any text can be encoded."""

    kind: Literal["bpe"] = "bpe"
    learns_words: ClassVar[bool] = True
    vocab_size: int | None = Field(default=None, ge=MIN_VOCAB_SIZE)
    """Number of tokens, special ones included; chosen from the size of the text if it is not given."""

    def train(self, texts: Callable[[], Iterable[str]], num_bytes: int) -> Tokenizer:
        vocab_size = self.vocab_size or suitable_vocab_size(num_bytes)
        backend = byte_level_backend()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - len(SPECIAL_TOKENS),
            initial_alphabet=list(byte_letters().values()),
            show_progress=False,
        )
        backend.train_from_iterator(_subsampled(texts(), TRAINING_BYTES / max(num_bytes, 1)), trainer)
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
        tokenizer = Tokenizer(backend)
        if self.vocab_size is not None and tokenizer.vocab_size < self.vocab_size:
            raise ConfigurationError(
                f"tokenizer.vocab_size={self.vocab_size} is more than this text supports, which is "
                f"{tokenizer.vocab_size}: ask for fewer tokens, or leave it out"
            )
        return tokenizer


def suitable_vocab_size(num_bytes: int) -> int:
    """A vocabulary size for a text of so many bytes: more tokens need more text, or most are too rare to learn."""
    return min(max(round(2 * num_bytes**0.5 / 64) * 64, 512), 32768)


def byte_level_backend() -> Backend:
    """A backend that splits as Qwen2 does, with no merges yet."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def _subsampled(texts: Iterable[str], fraction: float) -> Iterator[str]:
    """About a `fraction` of the text, taken evenly; all of it if the fraction is 1 or more."""
    for text in texts:
        if fraction >= 1:
            yield text
            continue
        block = 10_000
        for start in range(0, len(text), round(block / fraction)):
            yield text[start : start + block]
