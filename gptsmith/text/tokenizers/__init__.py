"""The kinds of tokenizer: each file makes a `Tokenizer` from text, or from files that somebody else made.

Contract: `settings.train(texts, num_bytes)` returns a `Tokenizer` whose EOS token is one token, that gives any
Unicode text back, and that never turns text into a special token.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.text.tokenizer import Tokenizer


class TokenizerSettings(Settings):
    """Base class of every kind of tokenizer.

    Attributes:
        learns_from_text: whether its vocabulary depends on the texts that it is trained on.
        learns_words: whether its tokens are words and parts of words of the texts that it is trained on.
    """

    kind: str
    learns_from_text: ClassVar[bool] = True
    learns_words: ClassVar[bool] = False

    @abstractmethod
    def train(self, texts: Callable[[], Iterable[str]], num_bytes: int) -> Tokenizer:
        """A tokenizer for these texts. `texts` may be called more than once and yields pieces of at most a few MB, with
        an empty one behind each document; `num_bytes` is their UTF-8 size together."""


KINDS = Kinds(__name__, TokenizerSettings, default="bpe")
AnyTokenizer = Annotated[TokenizerSettings, KINDS]
