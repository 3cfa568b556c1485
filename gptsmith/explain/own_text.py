"""Other text of a model's own, whose tokens take the place of parts of a prompt."""

from __future__ import annotations

from itertools import chain

from gptsmith.generate.own_text import own_texts
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer

NUM_TEXTS, TOKENS_OF_A_TEXT = 8, 33


def own_text(model: GPT, tokenizer: Tokenizer, *, seed: int = 0) -> tuple[int, ...]:
    """Tokens of some texts that the model begins from nothing: no word of a person's is among them."""
    texts = own_texts(model, tokenizer, num_texts=NUM_TEXTS, max_tokens=TOKENS_OF_A_TEXT, first_seed=seed)
    return tuple(number for number in chain(*texts) if number not in tokenizer.special_ids)
