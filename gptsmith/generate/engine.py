"""Continuous batching: one thread writes many texts at once, a token of each and a piece of a prompt a step."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.randomness import derived_seed
from gptsmith.base.settings import Settings
from gptsmith.generate.detokenizer import Detokenizer
from gptsmith.generate.kv_cache import Segment, SlotCache
from gptsmith.generate.prefill_budget import PrefillBudget
from gptsmith.generate.request import (
    ContextOverflowError,
    FinishReason,
    OutputChunk,
    QueueFullError,
    Request,
    TokenLogprob,
    TopLogprob,
)
from gptsmith.generate.sampling import SamplingSettings, apply_penalties, sample_from_uniform
from gptsmith.generate.speculative import Draft, prompt_lookup
from gptsmith.generate.structured_output import Grammar, GrammarCompiler
from gptsmith.model.gpt import GPT
from gptsmith.model.transform import use_integer_products
from gptsmith.text.tokenizer import Tokenizer

PIECE_PART = 4
"""Prompts are read in pieces of multiples of so many tokens: each number of rows that is new to oneDNN costs it time. A
step reads one part, however slow it is."""

Deliver = Callable[[OutputChunk], None]
T = TypeVar("T")


class EngineSettings(Settings):
    """The bounds of an engine."""

    max_num_seqs: int = Field(default=16, gt=0)
    """Texts that are written at the same time; others wait."""
    max_queue_size: int = Field(default=64, ge=0)
    """Texts that may wait; more are refused."""
    max_prefill_tokens: int = Field(default=512, gt=0)
    """The most tokens of prompts that a step reads."""
    max_prefill_slowdown: float = Field(default=2.6, gt=1)
    """While texts are written, a step that also reads a prompt may take this many times as long as one without."""
    num_speculative_tokens: int = Field(default=4, ge=0)
    """The most tokens of a text that are guessed ahead and checked in one step; 0 guesses none."""
    speculative_max_batch_size: int = Field(default=2, ge=0)
    """Nothing is guessed while more texts than this are written: then a step has enough to do."""


@dataclass(frozen=True)
class EngineFigures:
    """What an engine does, and has done."""

    running: int
    waiting: int
    num_prompt_tokens: int
    num_cached_tokens: int
    num_tokens: int
    num_steps: int
    num_proposed_tokens: int
    num_accepted_tokens: int


@dataclass
class RequestHandle:
    """A text that was asked for.

    Attributes:
        num_prompt_tokens: the tokens that it goes on from.
        num_cached_tokens: those of them that did not have to be read again; known from its first piece on.
    """

    num_prompt_tokens: int
    num_cached_tokens: int = 0
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Ends the text within a step, wherever it is. Nothing happens where it has ended."""
        self.is_cancelled = True


@dataclass
class _Row:
    """A text that waits or is written.

    Attributes:
        ids: the prompt's tokens, and those written.
        num_read: how many of them the cache holds.
    """

    request: Request
    deliver: Deliver
    ticket: RequestHandle
    ids: list[int]
    stream: Detokenizer
    grammar: Grammar | None = None
    slot: int = -1
    num_read: int = 0
    prompt_told: list[TokenLogprob] = field(default_factory=list)
    has_told_prompt: bool = False

    @property
    def num_prompt(self) -> int:
        return len(self.request.prompt_ids)

    @property
    def num_written(self) -> int:
        return len(self.ids) - self.num_prompt

    @property
    def adjusts(self) -> bool:
        """Whether something is asked for of its logits."""
        request = self.request
        asked = request.sampling.has_penalties or request.logit_bias or request.ignore_end
        return bool(asked) or self.grammar is not None

    @property
    def is_writing(self) -> bool:
        """Whether all but its last token has been read."""
        return self.num_read == len(self.ids) - 1 and self.num_written > 0


class Engine:
    """Writes texts with one model, its own from now on. Everything but `step` may be called from any thread."""

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        *,
        settings: EngineSettings | None = None,
        draft: GPT | None = None,
        thread: EngineThread | None = None,
    ) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        if model.config.linear.kind == "int8" and model.device.type == "cpu":
            use_integer_products(model)
        self.settings = settings or EngineSettings()
        self.context_length = model.config.context_length
        self._grammar_compiler = GrammarCompiler(tokenizer, model.config.vocab_size)
        self._draft = None if draft is None else Draft(draft)
        self._incoming: deque[_Row] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._lock, self._busy, self._is_closed = threading.Lock(), threading.Lock(), False
        self._waiting: deque[_Row] = deque()
        self._running: list[_Row] = []
        self._counts = dict.fromkeys(EngineFigures.__dataclass_fields__, 0)
        self._prefill_budget = PrefillBudget(model.config, self.settings.max_prefill_slowdown)
        self._new_cache()
        self._thread = thread or EngineThread()
        self._owns_thread = thread is None
        self._thread.add(self)

    def submit(self, request: Request, deliver: Deliver) -> RequestHandle:
        """Asks for a text. `deliver` is called with its pieces on the engine's thread, and for the last time with the
        one that has a finish_reason; it must not wait.

        Raises:
            QueueFullError: too many wait.
            ContextOverflowError: the prompt leaves no room to write.
            UserError: the request is not sound.
        """
        row = self._row(request, deliver)
        with self._lock:
            if self._is_closed:
                raise UserError("the engine is closed")
            if len(self._incoming) + self._counts["waiting"] + self._counts["running"] >= (
                self.settings.max_queue_size + self.settings.max_num_seqs
            ):
                raise QueueFullError(
                    f"{self._counts['running']} texts are being written and {self._counts['waiting']} wait: try again"
                )
            self._incoming.append(row)
        self._thread.wake()
        return row.ticket

    def stream(self, request: Request) -> Iterator[OutputChunk]:
        """The pieces of a text as they come. Leaving the loop early ends the text.

        Raises:
            UserError: as `submit` does.
        """
        pieces: queue.SimpleQueue[OutputChunk] = queue.SimpleQueue()
        ticket = self.submit(request, pieces.put)
        try:
            while True:
                piece = pieces.get()
                yield piece
                if piece.finish_reason is not None:
                    return
        finally:
            ticket.cancel()

    def embed(self, ids: Sequence[int]) -> Future[list[float]]:
        """The mean of the last layer's states over tokens, which must fit in the context.

        Raises:
            ContextOverflowError: they do not.
        """
        if len(ids) > self.context_length:
            raise ContextOverflowError(len(ids), self.context_length)
        return self.call(lambda: self._embedded(ids))

    def call(self, work: Callable[[], T]) -> Future[T]:
        """What a function gives on the engine's thread, between two steps."""
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        with self._lock:
            self._jobs.append(job)
        self._thread.wake()
        return future

    def figures(self) -> EngineFigures:
        """What it does now, and has done."""
        return EngineFigures(**self._counts)

    def close(self) -> None:
        """Ends every text at once."""
        with self._lock:
            self._is_closed = True
        self._thread.remove(self)
        if self._owns_thread:
            self._thread.close()
        with self._busy:
            self._take_in()
            for row in [*self._running, *self._waiting]:
                self._finish(row, "cancelled")

    @property
    def has_work(self) -> bool:
        return bool(self._incoming or self._jobs or self._waiting or self._running)

    @torch.inference_mode()
    def step(self) -> None:
        """Reads and writes once. Only the thread that owns the engine calls it."""
        with self._busy:
            self._step()

    def _step(self) -> None:
        with self._lock:
            jobs = list(self._jobs)
            self._jobs.clear()
            self._take_in()
        for job in jobs:
            job()
        for row in [row for row in [*self._running, *self._waiting] if row.ticket.is_cancelled]:
            self._finish(row, "cancelled")
        self._admit()
        if not self._running:
            return
        try:
            self._advance()
        except Exception as error:  # whatever it is, the others that ask must not suffer for it
            for row in list(self._running):
                self._finish(row, "error", error=f"{type(error).__name__}: {error}")
            self._new_cache()

    def _row(self, request: Request, deliver: Deliver) -> _Row:
        if not request.prompt_ids:
            raise UserError("a prompt has at least one token")
        if any(not 0 <= number < self.model.config.vocab_size for number in request.prompt_ids):
            raise UserError(f"a prompt's tokens are numbers from 0 to {self.model.config.vocab_size - 1}")
        if any(not text for text in request.stop):
            raise UserError("a stop string is empty: give at least one character")
        if odd := [number for number in request.logit_bias if not 0 <= number < self.model.config.vocab_size]:
            raise UserError(f"logit_bias names token {odd[0]}, which this model does not have")
        needed = len(request.prompt_ids) + (1 if request.max_tokens else 0)
        if needed > self.context_length:
            raise ContextOverflowError(len(request.prompt_ids), self.context_length)
        grammar = None if request.constraint is None else self._grammar_compiler.grammar(request.constraint)
        ticket = RequestHandle(len(request.prompt_ids))
        return _Row(request, deliver, ticket, list(request.prompt_ids), Detokenizer(request.stop), grammar)

    def _new_cache(self) -> None:
        model, slots = self.model, self.settings.max_num_seqs
        dtype = model.compute_dtype or model.embedding.weight.dtype
        self._cache = SlotCache(model.config, slots, self.context_length, dtype=dtype, device=model.device)
        self._held: list[list[int]] = [[] for _ in range(slots)]
        """The tokens of each slot, also when nobody uses it any more."""
        self._used_at = [0] * slots

    def _take_in(self) -> None:
        self._waiting.extend(self._incoming)
        self._incoming.clear()
        self._count()

    def _count(self) -> None:
        self._counts["running"], self._counts["waiting"] = len(self._running), len(self._waiting)

    def _admit(self) -> None:
        """Gives slots to those that wait: of the free ones that which holds the longest beginning of the prompt."""
        free = set(range(self.settings.max_num_seqs)) - {row.slot for row in self._running}
        while self._waiting and free:
            row = self._waiting.popleft()
            # A prompt whose own tokens are told is read anew, and one token always is, for its logits.
            most = 0 if row.request.prompt_logprobs else row.num_prompt - 1
            shared = [min(_common(held, row.ids), most) for held in self._held]
            slot = max(free, key=lambda number: (shared[number], -len(self._held[number]), -self._used_at[number]))
            best = max(range(len(shared)), key=lambda number: shared[number])
            if shared[best] > shared[slot]:
                self._cache.copy(best, slot, shared[best])
            free.discard(slot)
            row.slot, row.num_read = slot, shared[best]
            row.ticket.num_cached_tokens = row.num_read
            self._held[slot] = row.ids[: row.num_read]
            self._counts["num_cached_tokens"] += row.num_read
            self._counts["num_prompt_tokens"] += row.num_prompt
            self._running.append(row)
        self._count()

    def _advance(self) -> None:
        """One pass: a token of each text that is written, with what was guessed of it, and pieces of prompts."""
        writing = [row for row in self._running if row.is_writing]
        reading = [row for row in self._running if not row.is_writing]
        proposals = {id(row): self._proposed(row, len(writing), bool(reading)) for row in writing}
        writing.sort(key=lambda row: (len(proposals[id(row)]) > 0, row.slot))
        plan: list[tuple[_Row, Segment]] = [
            (row, Segment(row.slot, row.num_read, 1 + len(proposals[id(row)]))) for row in writing
        ]
        allowed, room = self._prefill_budget.tokens_allowed(len(writing)), self.settings.max_prefill_tokens
        counted = 0.0
        for row in reading:
            fitting = self._prefill_budget.num_tokens(row.num_read, allowed - counted)
            whole = max(min(fitting, room) // PIECE_PART * PIECE_PART, 0 if counted else PIECE_PART)
            count = int(min(row.num_prompt - row.num_read, whole, room))
            if count > 0:
                plan.append((row, Segment(row.slot, row.num_read, count)))
                room -= count
                counted += self._prefill_budget.count(row.num_read, count)
        num_single = sum(not proposals[id(row)] for row in writing)
        started = time.perf_counter()
        self._cache.plan([segment for _, segment in plan], num_single)
        ids = [
            token
            for row, segment in plan
            for token in row.ids[segment.start : segment.end] + proposals.get(id(row), [])
        ]
        hidden = self.model.hidden(torch.tensor([ids], device=self.model.device), cache=self._cache)[0]
        logits, owners = self._logits(hidden, plan)
        self._draw(logits, owners, proposals, plan)
        self._counts["num_steps"] += 1
        self._prefill_budget.observe(time.perf_counter() - started, len(writing), counted)

    def _logits(self, hidden: Tensor, plan: Sequence[tuple[_Row, Segment]]) -> tuple[Tensor, dict[int, range]]:
        """The logits (M, V) of the tokens after which something is drawn or told, and which of them are whose."""
        wanted: list[int] = []
        owners: dict[int, range] = {}
        at = 0
        for row, segment in plan:
            ends = segment.end >= row.num_prompt
            all_of_it = row.is_writing or row.request.prompt_logprobs
            first = 0 if all_of_it else segment.count - 1 if ends else segment.count
            owners[id(row)] = range(len(wanted), len(wanted) + segment.count - first)
            wanted += range(at + first, at + segment.count)
            at += segment.count
        if len(wanted) < len(hidden):
            hidden = hidden[wanted]
        logits: Tensor = self.model.head(hidden) if wanted else hidden
        return logits.float(), owners

    def _draw(
        self,
        logits: Tensor,
        owners: dict[int, range],
        proposals: dict[int, list[int]],
        plan: Sequence[tuple[_Row, Segment]],
    ) -> None:
        """Draws a token for each text, and one more after each guess that was right."""
        going: list[tuple[_Row, int]] = []
        for row, segment in plan:
            was_writing = row.is_writing
            row.num_read = segment.end - len(proposals.get(id(row), []))
            self._held[row.slot] = row.ids[: row.num_read]
            own = owners[id(row)]
            if not was_writing:
                self._tell_prompt(row, segment, logits[own.start : own.stop])
            if segment.end < row.num_prompt:
                continue
            if row.request.max_tokens == 0:
                self._finish(row, "length")
                continue
            going.append((row, own.start if was_writing else own.stop - 1))
        told: dict[int, list[TokenLogprob]] = {id(row): [] for row, _ in going}
        texts: dict[int, str] = {id(row): "" for row, _ in going}
        ended: dict[int, FinishReason] = {}
        rows = {id(row): row for row, _ in going}
        while going:
            tokens = self._drawn(logits, going)
            onward = []
            for (row, at), token in zip(going, tokens, strict=True):
                key, guesses = id(row), proposals.get(id(row), [])
                reason = self._write(row, token, logits[at], told[key])
                if reason != "end":
                    texts[key] += row.stream.feed(self.tokenizer.decode_bytes([token]))
                if row.stream.has_stopped:
                    reason = "stop"
                if reason is not None:
                    ended[key] = "stop" if reason == "end" else reason
                    continue
                number = at - owners[key].start
                if guesses and number < len(guesses) and guesses[number] == token:
                    row.num_read += 1
                    self._held[row.slot] = row.ids[: row.num_read]
                    self._counts["num_accepted_tokens"] += 1
                    onward.append((row, at + 1))
            going = onward
        for key, row in rows.items():
            if key in ended:
                self._finish(row, ended[key], text=texts[key], tokens=told[key])
            elif texts[key] or told[key]:
                self._deliver(row, OutputChunk(texts[key], told[key], self._prompt_of(row)))

    def _drawn(self, logits: Tensor, going: Sequence[tuple[_Row, int]]) -> list[int]:
        """A token for each text, each from its row of logits. Rows of equal settings are drawn together."""
        tokens = [0] * len(going)
        groups: dict[SamplingSettings, list[int]] = {}
        for number, (row, _) in enumerate(going):
            groups.setdefault(row.request.sampling, []).append(number)
        for sampling, numbers in groups.items():
            chosen = self._chosen(logits, [going[number] for number in numbers])
            chances = [_chance(going[number][0]) for number in numbers] if sampling.temperature else ()
            for number, token in zip(numbers, sample_from_uniform(chosen, sampling, chances).tolist(), strict=True):
                tokens[number] = token
        return tokens

    def _chosen(self, logits: Tensor, going: Sequence[tuple[_Row, int]]) -> Tensor:
        """The rows of logits that texts draw from, with what was asked for of them."""
        places = [at for _, at in going]
        chosen = logits if places == list(range(len(logits))) else logits[places]
        changed = {number: self._adjusted(chosen[number], row) for number, (row, _) in enumerate(going) if row.adjusts}
        if changed:
            chosen = torch.stack([changed.get(number, own) for number, own in enumerate(chosen)])
        return chosen

    def _adjusted(self, logits: Tensor, row: _Row) -> Tensor:
        """One row's logits (V) with what was asked for of them."""
        request = row.request
        if request.sampling.has_penalties:
            logits = apply_penalties(logits, request.sampling, request.prompt_ids, row.ids[row.num_prompt :])
        if request.logit_bias:
            logits = logits.clone()
            tokens = torch.tensor(list(request.logit_bias), device=logits.device)
            logits[tokens] += torch.tensor(list(request.logit_bias.values()), device=logits.device)
        if request.ignore_end:
            logits = logits.clone()
            logits[sorted(self.tokenizer.end_ids)] = float("-inf")
        if row.grammar is not None:
            logits = logits.masked_fill(~row.grammar.allowed().to(logits.device), float("-inf"))
        return logits

    def _write(self, row: _Row, token: int, logits: Tensor, told: list[TokenLogprob]) -> Any:
        """Puts a token behind a text; returns why it ends there, if it does: `end` for a token that is no text."""
        request = row.request
        is_end = (token in self.tokenizer.end_ids and not request.ignore_end) or token in request.stop_ids
        if row.grammar is not None:
            row.grammar.take(token)
        if is_end:
            return "end"
        row.ids.append(token)
        self._counts["num_tokens"] += 1
        told.append(_told(token, logits, request.top_logprobs))
        if row.grammar is not None and row.grammar.is_complete:
            return "stop"
        if row.num_written >= request.max_tokens or len(row.ids) >= self.context_length:
            return "length"
        return None

    def _tell_prompt(self, row: _Row, segment: Segment, logits: Tensor) -> None:
        """Keeps what the prompt's own tokens are told with. The logits are those after each token of the segment."""
        if not row.request.prompt_logprobs:
            return
        if segment.start == 0:
            row.prompt_told.append(TokenLogprob(row.ids[0], None))
        for place in range(segment.start + 1, min(segment.end + 1, row.num_prompt)):
            told = _told(row.ids[place], logits[place - 1 - segment.start], row.request.top_logprobs)
            row.prompt_told.append(told)

    def _prompt_of(self, row: _Row) -> Sequence[TokenLogprob]:
        if row.has_told_prompt:
            return ()
        row.has_told_prompt = True
        return row.prompt_told

    def _proposed(self, row: _Row, num_writing: int, is_reading: bool) -> list[int]:
        """Guesses of the next tokens of a text, which one pass checks."""
        request = row.request
        room = min(
            self.settings.num_speculative_tokens,
            request.max_tokens - row.num_written - 1,
            self.context_length - len(row.ids) - 1,
        )
        if num_writing > self.settings.speculative_max_batch_size or is_reading or row.grammar is not None or room <= 0:
            return []
        guesses = prompt_lookup(row.ids, room) if self._draft is None else self._draft.guess(row.ids, room)
        self._counts["num_proposed_tokens"] += len(guesses)
        return guesses

    def _finish(
        self, row: _Row, reason: FinishReason, *, text: str = "", tokens: Sequence[TokenLogprob] = (), error: str = ""
    ) -> None:
        """Takes a text out, and says its last piece."""
        if reason not in ("cancelled", "error"):
            text += row.stream.feed(b"", final=True)
            if row.stream.has_stopped:
                reason = "stop"
        if row in self._running:
            self._running.remove(row)
            self._used_at[row.slot] = self._counts["num_steps"]
        elif row in self._waiting:
            self._waiting.remove(row)
        self._count()
        self._deliver(row, OutputChunk(text, tokens, self._prompt_of(row), reason, error))

    def _deliver(self, row: _Row, piece: OutputChunk) -> None:
        try:
            row.deliver(piece)
        except Exception:  # whoever asked has failed to listen: that is no reason to stop for the others
            row.ticket.cancel()

    @torch.inference_mode()
    def _embedded(self, ids: Sequence[int]) -> list[float]:
        hidden = self.model.hidden(torch.tensor([list(ids)], device=self.model.device))
        mean: list[float] = hidden[0].float().mean(dim=0).tolist()
        return mean


class EngineThread:
    """The one thread that owns torch: it takes steps of its engines in turn, and sleeps when none has work."""

    def __init__(self) -> None:
        self._engines: list[Engine] = []
        self._wake = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def add(self, engine: Engine) -> None:
        """Steps this engine too."""
        with self._wake:
            self._engines.append(engine)

    def remove(self, engine: Engine) -> None:
        """Steps this engine no more, but for the step that it may be in."""
        with self._wake:
            if engine in self._engines:
                self._engines.remove(engine)

    def wake(self) -> None:
        """Looks for work."""
        with self._wake:
            self._wake.notify()

    def close(self) -> None:
        """Ends the thread."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._is_closed and not any(engine.has_work for engine in self._engines):
                    self._wake.wait()
                if self._is_closed:
                    return
                engines = [engine for engine in self._engines if engine.has_work]
            for engine in engines:
                engine.step()


def _told(token: int, logits: Tensor, top_logprobs: int | None) -> TokenLogprob:
    if top_logprobs is None:
        return TokenLogprob(token, None)
    logs = logits.log_softmax(dim=-1)
    likeliest = logs.topk(min(top_logprobs, len(logs))) if top_logprobs else None
    alternatives = [] if likeliest is None else zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    return TokenLogprob(token, float(logs[token]), [TopLogprob(number, value) for number, value in alternatives])


def _chance(row: _Row) -> float:
    """A number from [0, 1) that is a pure function of the seed, the choice and the place of the next token."""
    request = row.request
    seed = derived_seed(request.seed, "choice", request.choice) if request.choice else request.seed
    return (derived_seed(seed, "token", row.num_written) >> 10) / 2**53


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    count = 0
    for here, there in zip(one, other, strict=False):
        if here != there:
            break
        count += 1
    return count
