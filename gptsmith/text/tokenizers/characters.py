"""One token per character."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from gptsmith.text.surrogates import refuse_surrogates
from gptsmith.text.tokenizer import SPECIAL_TOKENS, Tokenizer
from gptsmith.text.tokenizers import TokenizerSettings


class CharactersTokenizerSettings(TokenizerSettings):
    """One token per character of the text; any other character is encoded as its bytes."""

    kind: Literal["characters"] = "characters"

    def train(self, texts: Callable[[], Iterable[str]], num_bytes: int) -> Tokenizer:
        seen: set[str] = set()
        for text in texts():
            refuse_surrogates(text)
            seen.update(text)
        tokens = sorted(seen) + [f"<0x{byte:02X}>" for byte in range(256)]
        backend = Backend(models.BPE({token: n for n, token in enumerate(tokens)}, [], byte_fallback=True))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
        return Tokenizer(backend)
