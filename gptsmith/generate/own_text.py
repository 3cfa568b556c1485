"""Text that a model writes from nothing, where text that it was trained on need not be at hand."""

from __future__ import annotations

from gptsmith.generate.api import generate_batch_with
from gptsmith.generate.engine import Engine
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import BATCH, EngineName
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer


def own_texts(
    model: GPT,
    tokenizer: Tokenizer,
    *,
    num_texts: int,
    max_tokens: int,
    first_seed: int = 0,
    engine: EngineName = "torch",
) -> list[list[int]]:
    """The ids of some documents, with the tokens that begin them, as probable as the model's own distribution has them:
    at temperature 1.

    Args:
        max_tokens: the most tokens of each, those that begin it among them; the context bounds it too.
        first_seed: of the first text; those of the others follow.
        engine: what writes.
    """
    begin = tokenizer.prompt_ids("")
    texts = generate_batch_with(
        Engine(model, tokenizer, settings=BATCH.model_copy(update={"engine": engine})),
        [begin] * num_texts,
        max_tokens=min(max_tokens, model.config.context_length) - len(begin),
        sampling=SamplingSettings(temperature=1.0),
        seeds=range(first_seed, first_seed + num_texts),
    )
    return [[*begin, *text.ids] for text in texts]
