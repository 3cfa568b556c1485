"""Other text of a model's own, whose tokens take the place of parts of a prompt."""

from __future__ import annotations

from gptsmith.generate.api import generate_batch
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer

NUM_TEXTS, TOKENS_OF_A_TEXT = 8, 32


def own_text(model: GPT, tokenizer: Tokenizer, *, seed: int = 0) -> tuple[int, ...]:
    """Tokens of some texts that the model begins from nothing, as probable as its own distribution has them: what it
    was trained on need not be at hand, and no word of a person's is among them."""
    texts = generate_batch(
        model,
        tokenizer,
        [tokenizer.prompt_ids("")] * NUM_TEXTS,
        max_tokens=min(TOKENS_OF_A_TEXT, model.config.context_length - 1),
        sampling=SamplingSettings(temperature=1.0),
        seeds=range(seed, seed + NUM_TEXTS),
    )
    return tuple(number for text in texts for number in text.ids if number not in tokenizer.special_ids)
