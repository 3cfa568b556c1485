"""Pairs of answers to be judged, written by the old and the new model a few ahead of the person."""

from __future__ import annotations

import asyncio
import json

from gptsmith.base.errors import UserError
from gptsmith.serve.chat.generation import generate_response
from gptsmith.serve.errors import ApiError
from gptsmith.serve.log import log_failure
from gptsmith.serve.openai.chat import ChatCompletionJob
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.state import State
from gptsmith.serve.studio.improve.held_back import Messages
from gptsmith.serve.studio.improve.improvements import Improvements

NUM_AHEAD = 4
MAX_TOKENS = 400


class PairWriter:
    """Writes pairs while somebody judges. What a studio did not end to write, the next one writes again, with the same
    seeds.

    Attributes:
        troubles: by improvement, why no pair can be written.
    """

    def __init__(self, improvements: Improvements) -> None:
        self._improvements = improvements
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.troubles: dict[str, str] = {}

    async def ensure(self, state: State, name: str) -> bool:
        """Sees that pairs of an improvement are written where they are due; whether they are being written."""
        is_due = bool(await asyncio.to_thread(self._due, name))
        task = self._tasks.get(name)
        if task is not None and not task.done():
            return True
        if is_due:
            self._tasks[name] = asyncio.create_task(self._write(state, name))
        return is_due

    def _due(self, name: str) -> list[tuple[int, int, Messages]]:
        """The pairs that are to be written; none if it is not being judged."""
        return self._improvements.pairs.due(name, NUM_AHEAD) if self._improvements.is_judged(name) else []

    async def _write(self, state: State, name: str) -> None:
        try:
            models = await asyncio.to_thread(self._improvements.models, name)
            while due := await asyncio.to_thread(self._due, name):
                # One model after the other: there may not be memory for both.
                old, new = [
                    await asyncio.gather(*(_answer(state, model, messages, number) for number, _, messages in due))
                    for model in models
                ]
                self.troubles.pop(name, None)
                for (number, prompt, _), before, after in zip(due, old, new, strict=True):
                    await asyncio.to_thread(self._improvements.keep_pair, name, number, prompt, before, after)
        except (ApiError, UserError) as error:
            self.troubles[name] = str(error)
        except Exception as error:
            log_failure(error)
            self.troubles[name] = "the answers could not be written: see the log of the studio"


async def _answer(state: State, model: str, messages: Messages, seed: int) -> str:
    """A model's answer, as it gives it in conversations.

    Raises:
        ApiError: it cannot.
    """
    body = ChatCompletionRequest.model_validate(
        {"model": model, "messages": messages, "seed": seed, "max_tokens": MAX_TOKENS}
    )
    job = ChatCompletionJob(body, await state.models.writer(model))
    response = await generate_response(state, job, {})
    content = json.loads(bytes(response.body))["choices"][0]["message"]["content"]
    return str(content or "")
