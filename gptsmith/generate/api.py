"""Generation: a prompt in, a text out as it is generated; or many prompts at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gptsmith.base.errors import UserError
from gptsmith.generate.engine import Engine
from gptsmith.generate.recital_guard import RecitalGuard
from gptsmith.generate.request import Constraint, ContextOverflowError, OutputChunk, Request, RequestHandle
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import BATCH, EngineSettings
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer


class Generation:
    """One text as it grows. Iterate over it for its pieces, whose figures are right once that has ended; leaving the
    loop early ends the text.

    Attributes:
        text: the pieces so far, together.
        num_tokens: tokens generated.
        seconds: time since the first piece was requested.
        finish_reason: `stop` (a stop string, the end of the document or turn), `length` (all tokens that were
            requested), `context` (the model's context is full), `content_filter` (the recital guard left no token that
            may follow); empty until then.
    """

    def __init__(self, engine: Engine, request: Request) -> None:
        self.engine, self.request = engine, request
        self.text, self.finish_reason, self.num_tokens, self.seconds = "", "", 0, 0.0

    @property
    def prompt_ids(self) -> Sequence[int]:
        return self.request.prompt_ids

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens read before the first was generated."""
        return len(self.request.prompt_ids)

    def __iter__(self) -> Iterator[str]:
        """
        Raises:
            UserError: the engine failed.
        """
        started = time.perf_counter()
        for chunk in self.engine.stream(self.request):
            self.text += chunk.text
            self.num_tokens += len(chunk.tokens)
            self.seconds = time.perf_counter() - started
            if chunk.error:
                raise UserError(f"generation failed: {chunk.error}")
            self.finish_reason = chunk.finish_reason or ""
            if chunk.text:
                yield chunk.text


def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int] = "",
    *,
    max_tokens: int = 200,
    sampling: SamplingSettings | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
    slide: bool = False,
    recital_guard: RecitalGuard | None = None,
) -> Generation:
    """The text after `prompt`, generated as it is iterated over. An empty prompt starts a new document.

    Args:
        prompt: a text, or the ids of one.
        max_tokens: the most tokens to generate.
        sampling: how tokens are sampled.
        seed: the same seed and prompt give the same text.
        stop: strings that end the text; they are not part of it.
        slide: forget the oldest half whenever the context is full, instead of ending there.
        recital_guard: bars recitals of training texts.

    Raises:
        UserError: the prompt leaves no room in the context, and `slide` is not set.
    """
    engine = Engine(model, tokenizer, settings=EngineSettings(max_num_seqs=1), recital_guard=recital_guard)
    return generate_with(
        engine, tokenizer, prompt, max_tokens=max_tokens, sampling=sampling, seed=seed, stop=stop, slide=slide
    )


def generate_with(
    engine: Engine,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int] = "",
    *,
    max_tokens: int = 200,
    sampling: SamplingSettings | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
    slide: bool = False,
) -> Generation:
    """`generate` by an engine that is there already."""
    prompt_ids = tokenizer.prompt_ids(prompt) if isinstance(prompt, str) else list(prompt)
    request = Request(
        prompt_ids or [tokenizer.eos_token_id], max_tokens, sampling or SamplingSettings(), seed=seed, stop=stop,
        slide=slide,
    )  # fmt: skip
    try:
        engine.check(request)
    except ContextOverflowError as error:
        raise UserError(f"{error}, or continue from its end with --slide") from None
    return Generation(engine, request)


@dataclass
class Completion:
    """The text after one of many prompts.

    Attributes:
        ids: its tokens, without the one that ended it.
        text: those as text, up to a stop string.
        finish_reason: `stop`, `length`, `context` or `content_filter`, as of a `Generation`.
        end_id: the end token that ended it, if one did.
        error: why it failed; empty if it did not.
    """

    ids: list[int]
    text: str = ""
    finish_reason: str = ""
    end_id: int | None = None
    error: str = ""

    def add(self, chunk: OutputChunk) -> None:
        """Appends what was generated."""
        self.ids += [token.id for token in chunk.tokens]
        self.text += chunk.text
        if chunk.finish_reason is not None:
            self.finish_reason, self.end_id, self.error = chunk.finish_reason, chunk.end_id, chunk.error


def generate_batch(
    model: GPT,
    tokenizer: Tokenizer | None,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    sampling: SamplingSettings,
    seeds: Sequence[int],
    stop: Sequence[str] = (),
    stop_ids: frozenset[int] = frozenset(),
    max_num_seqs: int = BATCH.max_num_seqs,
    observe: Callable[[int], None] = lambda _: None,
) -> list[Completion]:
    """The texts after the ids of many prompts, in the order of the prompts, each as if it were alone. The modules of
    the model compute them, whose weights may be other ones the next time.

    Args:
        tokenizer: without one there are ids alone, and only `stop_ids` end them.
        seeds: one per prompt.
        stop: strings that end a text; they are not part of it.
        stop_ids: tokens that end a text, besides the tokenizer's own.
        max_num_seqs: the most texts that are generated at the same time.
        observe: called with the number of texts that are complete, as it grows.

    Raises:
        ContextOverflowError: a prompt leaves no room in the context.
    """
    engine = Engine(model, tokenizer, settings=BATCH.model_copy(update={"max_num_seqs": max_num_seqs}))
    return generate_batch_with(
        engine, prompts, max_tokens=max_tokens, sampling=sampling, seeds=seeds, stop=stop, stop_ids=stop_ids,
        observe=observe,
    )  # fmt: skip


def generate_batch_with(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    sampling: SamplingSettings,
    seeds: Sequence[int],
    stop: Sequence[str] = (),
    stop_ids: frozenset[int] = frozenset(),
    constraints: Sequence[Constraint | None] | None = None,
    observe: Callable[[int], None] = lambda _: None,
) -> list[Completion]:
    """`generate_batch` by an engine that is there already, without a thread; `constraints` are the forms of
    the texts, one per prompt.

    Raises:
        UserError: the engine failed.
    """
    requests = [
        Request(prompt, max_tokens, sampling, seed=seed, stop=stop, stop_ids=stop_ids, constraint=form)
        for prompt, seed, form in zip(prompts, seeds, constraints or [None] * len(prompts), strict=True)
    ]
    completions = [Completion([]) for _ in prompts]
    handles: list[RequestHandle] = []
    num_seen = 0
    try:
        # Texts that are about equally long attend as a batch.
        for number in sorted(range(len(prompts)), key=lambda number: len(prompts[number])):
            handles.append(engine.submit(requests[number], completions[number].add))
        while (num_complete := sum(bool(each.finish_reason) for each in completions)) < len(completions):
            if num_complete > num_seen:
                observe(num_seen := num_complete)
            engine.step()
    finally:
        for handle in handles:
            handle.cancel()
    if num_complete > num_seen:
        observe(num_complete)
    if errors := [each.error for each in completions if each.error]:
        raise UserError(f"generation failed: {errors[0]}")
    return completions
