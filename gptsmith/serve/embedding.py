"""Vectors of texts: the mean of the last layer's states over their tokens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from gptsmith.base.errors import UserError
from gptsmith.serve.errors import api_error, refused
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.state import State
from gptsmith.text.tokenizer import TooManyTokensError


async def embed_texts(
    state: State,
    served: ServedModel,
    inputs: Sequence[str | list[int]],
    *,
    normalize: bool = True,
    truncates: bool = False,
    param: str = "input",
) -> tuple[list[list[float]], int]:
    """A vector for each text or list of token ids, and the number of all tokens. With `truncates`, the end of what
    is longer than the context is left out.

    Raises:
        ApiError: they cannot be given; `param` names the field.
    """
    if len(inputs) > state.settings.max_inputs:
        raise refused(param, f"{len(inputs)} texts are more than the {state.settings.max_inputs} allowed at once")
    vectors, num_tokens, longest = [], 0, served.context_length

    def token_ids(one: str | list[int]) -> list[int]:
        if not isinstance(one, str):
            return one
        return served.tokenizer.prompt_ids(one)[:longest] if truncates else served.tokenizer.prompt_ids(one, longest)

    with served.reserved(1):
        try:
            with served.engine.kv_memory.explained():
                prompts = await state.models.workers.run_on_reader(lambda: [token_ids(one) for one in inputs])
        except TooManyTokensError as error:
            raise api_error(error, param) from None
        for ids in prompts:
            if max(ids) >= served.vocab_size:
                raise refused(param, f"this model's tokens are numbers below {served.vocab_size}")
            try:
                # One after the other, so that a long list does not delay generation.
                vector = await asyncio.wrap_future(served.engine.embed(ids))
            except UserError as error:
                raise api_error(error, param) from None
            num_tokens += len(ids)
            if normalize:
                length = math.hypot(*vector)
                vector = [value / length for value in vector] if length else vector
            vectors.append(vector)
    return vectors, num_tokens
