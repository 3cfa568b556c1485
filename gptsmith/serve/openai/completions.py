"""POST /v1/completions: continuations of prompts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.responses import Response

from gptsmith.generate.request import OutputChunk, Request, TokenLogprob
from gptsmith.serve.chat.generation import ChunkEvents, GenerationJob, generate_response
from gptsmith.serve.chat.ids import new_id
from gptsmith.serve.chat.logprobs import LogprobBuffer, TextOffsets, completion_logprobs
from gptsmith.serve.chat.request_mapping import (
    check_sampling_fields,
    engine_request,
    refuse_fields,
    resolve_max_tokens,
    resolve_seed,
)
from gptsmith.serve.chat.streaming import SequenceOutput
from gptsmith.serve.errors import refused
from gptsmith.serve.openai.schemas.completions import CompletionRequest
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.server_sent_events import DONE, event
from gptsmith.serve.state import State
from gptsmith.text.context import fit_text, max_prompt_tokens

DEFAULT_MAX_TOKENS = 16
"""OpenAI's, which its clients count on."""
UNSUPPORTED = {"suffix": "models here only continue a text"}


async def completions(state: State, body: CompletionRequest, log_fields: dict[str, Any]) -> Response:
    """The answer to a request for completions.

    Raises:
        ApiError: it cannot be given.
    """
    job = CompletionJob(body, await state.models.writer(body.model))
    return await generate_response(state, job, log_fields)


class CompletionJob(GenerationJob):
    """A request for completions."""

    prompt_field = "prompt"

    def __init__(self, body: CompletionRequest, served: ServedModel) -> None:
        """
        Raises:
            ApiError: a field is not allowed.
        """
        super().__init__(body, served)
        self.body = body
        refuse_fields(body, UNSUPPORTED)
        self.num_returned = body.n or 1
        self.sequences_per_prompt = body.best_of or self.num_returned
        if self.sequences_per_prompt < self.num_returned:
            raise refused("best_of", f"it is {body.best_of}, and n is {self.num_returned}: it cannot be smaller")
        self.is_best_of = self.sequences_per_prompt > self.num_returned
        if self.is_best_of and body.stream:
            raise refused("best_of", "the best can only be chosen at the end: leave stream out, or make it equal to n")
        self.prompts = _prompts(body.prompt)
        self.num_sequences = len(self.prompts) * self.sequences_per_prompt
        check_sampling_fields(body, served, self.sequences_per_prompt, "best_of" if body.best_of else "n")
        most = served.settings.max_sequences
        if self.num_sequences > most:
            raise refused(
                "prompt",
                f"{len(self.prompts)} prompts with {self.sequences_per_prompt} texts each are more than the {most} "
                "texts that may run and wait: send them in several requests",
            )
        self.max_tokens = resolve_max_tokens(body.max_tokens, DEFAULT_MAX_TOKENS, served, "max_tokens")
        self.head = {"id": new_id("cmpl-"), "object": "text_completion", "created": int(time.time())}
        self.head |= {"model": served.name, "system_fingerprint": None}

    def requests(self) -> list[Request]:
        """Requests of the engine: those of the first prompt, then those of the second."""
        body, tokenizer = self.body, self.served.tokenizer
        limit = max_prompt_tokens(self.served.context_length, self.max_tokens)
        longest = None if body.truncation == "auto" else self.served.context_length
        prompts = [tokenizer.prompt_ids(text, longest) if isinstance(text, str) else text for text in self.prompts]
        if body.truncation == "auto":
            fitted = [fit_text(prompt, limit) for prompt in prompts]
            prompts = [prompt.token_ids for prompt in fitted]
            self.head["omitted_tokens"] = sum(prompt.num_omitted for prompt in fitted)
        top_logprobs = 0 if body.logprobs is None and self.is_best_of else body.logprobs
        seed = resolve_seed(body.seed)
        return [
            engine_request(
                body, self.served, prompt, max_tokens=self.max_tokens, seed=seed, choice=choice,
                top_logprobs=top_logprobs, prompt_logprobs=bool(body.echo) and body.logprobs is not None,
            )
            for prompt in prompts
            for choice in range(self.sequences_per_prompt)
        ]  # fmt: skip

    def echo(self, number: int) -> str:
        """The text before a sequence: its prompt, if that is requested."""
        if not self.body.echo:
            return ""
        prompt = self.prompts[number // self.sequences_per_prompt]
        return prompt if isinstance(prompt, str) else self.served.tokenizer.decode(prompt, keep_special=True)

    def response(self, outputs: Sequence[SequenceOutput], usage: dict[str, Any]) -> dict[str, Any]:
        """The whole answer: of each prompt all sequences in order, or the best ones, best first."""
        choices: list[dict[str, Any]] = []
        for start in range(0, len(outputs), self.sequences_per_prompt):
            numbers = list(range(start, start + self.sequences_per_prompt))
            if self.is_best_of:
                numbers = sorted(numbers, key=lambda number: -outputs[number].mean_logprob)[: self.num_returned]
            for number in numbers:
                output = outputs[number]
                logprobs = self.logprobs([*output.prompt, *output.tokens], self.offsets(number))
                choice = {"index": len(choices), "text": self.echo(number) + output.text, "logprobs": logprobs}
                choices.append({**choice, "finish_reason": output.finish_reason})
        return {**self.head, "choices": choices, "usage": usage}

    def chunk_events(self) -> ChunkEvents:
        return CompletionEvents(self)

    def logprobs(self, tokens: Sequence[TokenLogprob], offsets: TextOffsets) -> dict[str, Any] | None:
        """Log-probabilities, if they are requested."""
        return None if self.body.logprobs is None else completion_logprobs(self.served.tokenizer, tokens, offsets)

    def offsets(self, number: int) -> TextOffsets:
        """The offsets of a sequence, before its first token."""
        prompt = self.prompts[number // self.sequences_per_prompt]
        return TextOffsets(self.served.tokenizer, keep_special=bool(self.body.echo) and not isinstance(prompt, str))


class CompletionEvents(ChunkEvents):
    """The stream of completions."""

    def __init__(self, job: CompletionJob) -> None:
        self.job, options = job, job.body.stream_options
        self.includes_usage = bool(options and options.include_usage)
        self.more = {"usage": None} if self.includes_usage else {}
        self.buffer = LogprobBuffer()
        self.has_begun = [False] * job.num_sequences
        self.offsets = [job.offsets(number) for number in range(job.num_sequences)]

    def chunk(self, number: int, chunk: OutputChunk) -> Iterator[bytes]:
        text = chunk.text if self.has_begun[number] else self.job.echo(number) + chunk.text
        self.has_begun[number] = True
        tokens = self.buffer.release(number, [*chunk.prompt, *chunk.tokens], bool(text or chunk.finish_reason))
        if not (text or tokens or chunk.finish_reason):
            return
        logprobs = self.job.logprobs(tokens, self.offsets[number])
        choice = {"index": number, "text": text, "logprobs": logprobs, "finish_reason": chunk.finish_reason}
        yield event({**self.job.head, "choices": [choice], **self.more})

    def closing(self, usage: dict[str, Any]) -> Iterator[bytes]:
        if self.includes_usage:
            yield event({**self.job.head, "choices": [], "usage": usage})
        yield DONE


def _prompts(given: Any) -> list[str | list[int]]:
    """Each prompt: a text, or token ids."""
    if given is None:
        return [""]
    if isinstance(given, str):
        return [given]
    return [given] if isinstance(given[0], int) else list(given)
