"""Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019), split as Qwen2 splits."""

from __future__ import annotations

from collections import Counter
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
BETWEEN_WORDS = "\uffff"
"""Between words that are trained on one by one: no character, in any text."""
WORDS_AT_ONCE = 100_000


class BPETokenizerSettings(TokenizerSettings):
    """Tokens are merged from bytes, the most frequent pair first. Any text can be encoded."""

    kind: Literal["bpe"] = "bpe"
    learns_words: ClassVar[bool] = True
    vocab_size: int | None = Field(default=None, ge=MIN_VOCAB_SIZE)
    """Number of tokens, special ones included; chosen from the size of the text if it is not given."""

    min_documents: int = Field(default=1, ge=1)
    """Tokens are merged only within words that so many documents have: a rarer one, such as the name of a person, is no
    token of its own, which anybody could read in the vocabulary."""

    def train(self, texts: Callable[[], Iterable[str]], num_bytes: int) -> Tokenizer:
        vocab_size = self.vocab_size or suitable_vocab_size(num_bytes)
        backend = byte_level_backend()
        sample = _subsampled(texts(), TRAINING_BYTES / max(num_bytes, 1))
        if self.min_documents > 1:
            sample = _words_of_documents(sample, self.min_documents)
            backend.pre_tokenizer = _between_words()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - len(SPECIAL_TOKENS),
            initial_alphabet=list(byte_letters().values()),
            show_progress=False,
        )
        backend.train_from_iterator(sample, trainer)
        backend.pre_tokenizer = _qwen2_words()
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
        tokenizer = Tokenizer(backend)
        if self.vocab_size is not None and tokenizer.vocab_size < self.vocab_size:
            raise ConfigurationError(
                f"tokenizer.vocab_size={self.vocab_size} is more than this text supports, which is "
                f"{tokenizer.vocab_size}: ask for fewer tokens, or leave it out"
                + (f", or lower tokenizer.min_documents={self.min_documents}" if self.min_documents > 1 else "")
            )
        return tokenizer


def suitable_vocab_size(num_bytes: int) -> int:
    """A vocabulary size for a text of so many bytes: more tokens need more text, or most are too rare to learn."""
    return min(max(round(2 * num_bytes**0.5 / 64) * 64, 512), 32768)


def byte_level_backend() -> Backend:
    """A backend that splits as Qwen2 does, with no merges yet."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = _qwen2_words()
    backend.decoder = decoders.ByteLevel()
    return backend


def _qwen2_words() -> pre_tokenizers.PreTokenizer:
    return _words_as_bytes(pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"))


def _between_words() -> pre_tokenizers.PreTokenizer:
    return _words_as_bytes(pre_tokenizers.Split(BETWEEN_WORDS, "removed"))


def _words_as_bytes(split: pre_tokenizers.PreTokenizer) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _words_of_documents(texts: Iterable[str], min_documents: int) -> Iterator[str]:
    """Each word as often as it stands in the texts, behind each of which an empty one ends a document; of words that
    fewer documents have, none.

    Raises:
        ConfigurationError: there are fewer documents.
    """
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated")
    counts, document_counts, num_documents = Counter[str](), Counter[str](), 0
    of_document = set[str]()
    for text in texts:
        words = [word for word, _ in split.pre_tokenize_str(text)]
        counts.update(words)
        of_document.update(words)
        if not text:
            document_counts.update(of_document)
            num_documents += 1
            of_document = set()
    if num_documents < min_documents:
        raise ConfigurationError(
            f"tokenizer.min_documents={min_documents} is more than the documents that there are to train on, "
            f"{num_documents}: give more of them, or a lower number"
        )
    for word, count in counts.items():
        if document_counts[word] >= min_documents:
            for start in range(0, count, WORDS_AT_ONCE):
                yield f"{word}{BETWEEN_WORDS}" * min(WORDS_AT_ONCE, count - start)


def _subsampled(texts: Iterable[str], fraction: float) -> Iterator[str]:
    """About a `fraction` of the text, taken evenly; all of it if the fraction is 1 or more."""
    for text in texts:
        if fraction >= 1 or not text:
            yield text
            continue
        block = 10_000
        for start in range(0, len(text), round(block / fraction)):
            yield text[start : start + block]
