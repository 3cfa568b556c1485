"""The decoder: continuous batching of any number of sequences, stepped by its caller or by a thread."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.futures import without_stop_iteration
from gptsmith.generate.embedding import embedding_chunks
from gptsmith.generate.engine_thread import EngineThread
from gptsmith.generate.forward import Forwards
from gptsmith.generate.kv_cache import PagedKVCache
from gptsmith.generate.kv_memory import KVCacheMemory, cache_dtype
from gptsmith.generate.logprobs import collect_prompt_logprobs, sampled_logprob
from gptsmith.generate.prefill_budget import PrefillBudget
from gptsmith.generate.recital_guard import NothingToWriteError, RecitalGuard
from gptsmith.generate.request import (
    ContextOverflowError,
    FinishReason,
    OutputChunk,
    QueueFullError,
    Request,
    RequestHandle,
    check_request,
)
from gptsmith.generate.sampler import sample_tokens, scheduled_logits
from gptsmith.generate.scheduler import ScheduledTokens, Scheduler
from gptsmith.generate.sequence import Deliver, SequenceState
from gptsmith.generate.settings import EngineSettings
from gptsmith.generate.speculative import PromptLookup, Proposer
from gptsmith.generate.structured_output import GrammarCompiler
from gptsmith.model.gpt import GPT
from gptsmith.text.channels import Channels
from gptsmith.text.tokenizer import Tokenizer

T = TypeVar("T")


@dataclass(frozen=True)
class EngineFigures:
    """Counts of an engine: of sequences and blocks those of now, the others add up.

    Attributes:
        num_kv_blocks: the blocks of the KV cache that hold something: sequences that run, or prefixes for prompts that
            begin alike.
        num_shared_kv_blocks: those of them that several sequences or prefixes share.
        kv_cache_bytes: the memory of the blocks that hold something.
        num_guarded_tokens: tokens in whose place the recital guard barred others.
    """

    running: int
    waiting: int
    num_kv_blocks: int
    num_shared_kv_blocks: int
    kv_cache_bytes: int
    num_preemptions: int
    num_prompt_tokens: int
    num_cached_tokens: int
    num_tokens: int
    num_steps: int
    num_proposed_tokens: int
    num_accepted_tokens: int
    num_guarded_tokens: int


class Engine:
    """Generates any number of texts with one model.

    Without a thread its caller steps it: `while engine.has_work: engine.step()`. With one, the thread does, and
    everything but `step` may be called from any thread.

    Attributes:
        model: the model as its modules run it: a copy that shares the weights.
        forwards: the ways to compute it.
        kv_memory: the memory of its KV cache.
        recital_guard: bars recitals of training texts in every text; None if they may be.
        context_length: the most tokens of a sequence: the model's own, or what that memory holds.
        on_pass: called before each forward pass.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer | None = None,
        *,
        settings: EngineSettings | None = None,
        proposer: Proposer | None = None,
        recital_guard: RecitalGuard | None = None,
        thread: EngineThread | None = None,
        int8_matmul: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            tokenizer: turns tokens into text and says which ones end it; without one there are tokens alone.
            proposer: proposes tokens for speculative decoding; by prompt lookup if None.
            recital_guard: bars recitals of training texts.
            int8_matmul: whether an int8 model on a CPU quantizes the inputs of its linear maps too, and its head.
            clock: seconds, for the prefill budget.
        """
        self.settings, self.tokenizer = settings or EngineSettings(), tokenizer
        self.forwards = Forwards(model, self.settings, int8_matmul=int8_matmul)
        self.model = self.forwards.model
        weakref.finalize(self, self.forwards.close)  # whose threads would keep it alive
        self.kv_memory = KVCacheMemory.of(model.config, cache_dtype(self.model), self.settings)
        self.context_length = self.kv_memory.context_length
        self.on_pass: Callable[[], None] = lambda: None
        self._proposer, self._clock = proposer or PromptLookup(), clock
        self.recital_guard = recital_guard
        self._end_ids = frozenset() if tokenizer is None else tokenizer.end_ids
        self._channels = None if tokenizer is None else Channels.of(tokenizer)
        self._grammar_compiler = None if tokenizer is None else GrammarCompiler(tokenizer, model.config.vocab_size)
        self._incoming: deque[SequenceState] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._lock, self._stepping, self._is_closed = threading.Lock(), threading.Lock(), False
        self._counts = dict.fromkeys(EngineFigures.__dataclass_fields__, 0)

        self.kv_cache = PagedKVCache(
            model.config, self.kv_memory, device=self.model.device, max_num_seqs=self.settings.max_num_seqs
        )
        self._budget = PrefillBudget(model.config, self.settings.max_prefill_slowdown)
        self._scheduler = Scheduler(self.settings, self.kv_cache, self._budget, self.context_length)
        self._thread = thread
        if thread is not None:
            thread.add(self)

    def submit(self, request: Request, deliver: Deliver) -> RequestHandle:
        """Requests a text. `deliver` is called with its chunks during steps, for the last time with the one that has a
        finish_reason; it must not block.

        Raises:
            QueueFullError: too many wait.
            ContextOverflowError: the prompt leaves no room to generate.
            UserError: the request is not sound.
        """
        sequence = self._sequence(request, deliver)
        with self._lock:
            if self._is_closed:
                raise UserError("the engine is closed")
            if len(self._incoming) + self._counts["waiting"] + self._counts["running"] >= (
                self.settings.max_queue_size + self.settings.max_num_seqs
            ):
                raise QueueFullError(
                    f"the queue is full ({self._counts['running']} sequences running, "
                    f"{self._counts['waiting']} waiting): try again"
                )
            self._incoming.append(sequence)
        if self._thread is not None:
            self._thread.wake()
        return sequence.handle

    def stream(self, request: Request) -> Iterator[OutputChunk]:
        """The chunks of a text as they are generated. Leaving the loop early ends the text.

        Raises:
            UserError: as `submit` does.
        """
        chunks: queue.SimpleQueue[OutputChunk] = queue.SimpleQueue()
        handle = self.submit(request, chunks.put)
        try:
            while True:
                while self._thread is None and chunks.empty():
                    self.step()
                chunk = chunks.get()
                yield chunk
                if chunk.finish_reason is not None:
                    return
        finally:
            handle.cancel()

    def check(self, request: Request) -> None:
        """
        Raises:
            ContextOverflowError: the prompt leaves no room to generate.
            UserError: the request is not sound.
        """
        with self.kv_memory.explained():
            check_request(request, self.model.config.vocab_size, self.context_length)

    def embed(self, ids: Sequence[int]) -> Future[list[float]]:
        """The mean of the last layer's states over tokens, which must fit in the context. They are read in chunks, one
        per step, so that a long text does not stop the others.

        Raises:
            ContextOverflowError: they do not.
        """
        if len(ids) > self.context_length:
            raise ContextOverflowError(len(ids), self.context_length)
        future: Future[list[float]] = Future()
        chunks = embedding_chunks(self.model, ids, self._scheduler.chunk_size)

        def advance() -> None:
            try:
                next(chunks)
            except StopIteration as end:
                future.set_result(end.value)
            except BaseException as error:
                future.set_exception(error)
            else:
                if self._thread is not None and not future.cancelled():
                    self.call(advance)

        if self._thread is None:
            while not future.done():
                advance()
        else:
            self.call(advance)
        return future

    def call(self, work: Callable[[], T]) -> Future[T]:
        """The result of a function that runs between two steps: on the engine's thread, or at once without one."""
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(without_stop_iteration(work)())
            except BaseException as error:
                future.set_exception(error)

        if self._thread is None:
            job()
            return future
        with self._lock:
            self._jobs.append(job)
        self._thread.wake()
        return future

    def figures(self) -> EngineFigures:
        """The counts of now."""
        return EngineFigures(**self._counts)

    def forget_prefixes(self) -> None:
        """Forgets what texts that have ended left in the KV cache, unless others may use it now. A text that nobody
        reads any more ends here."""
        with self._stepping:
            with self._lock:
                self._take_incoming()
            self._end_cancelled()
            if not self.has_work:
                self._scheduler.forget_prefixes()
                self._count()

    def close(self) -> None:
        """Ends every text at once. The thread is its owner's to close."""
        with self._lock:
            self._is_closed = True
        if self._thread is not None:
            self._thread.remove(self)
        with self._stepping:
            self._take_incoming()
            self._finish_all("cancelled")

    @property
    def is_threaded(self) -> bool:
        """Whether a thread steps it."""
        return self._thread is not None

    @property
    def has_work(self) -> bool:
        return bool(self._incoming or self._jobs or self._scheduler.waiting or self._scheduler.running)

    @torch.inference_mode()
    def step(self) -> None:
        """Runs one forward pass: a token of each text that is decoded, and chunks of prompts.

        Raises:
            Exception: without a thread, whatever went wrong. Every text has ended with an error then.
        """
        with self._stepping:
            with self._lock:
                jobs = list(self._jobs)
                self._jobs.clear()
                self._take_incoming()
            for job in jobs:
                job()
            self._schedule()
            if not self._scheduler.running:
                return
            try:
                self._advance()
            except BaseException as error:
                # One failure must not end the texts that wait, nor what comes after them.
                self._finish_running(error)
                if self._thread is None or not isinstance(error, Exception):
                    raise

    def _sequence(self, request: Request, deliver: Deliver) -> SequenceState:
        self.check(request)
        grammar = None
        if request.constraint is not None:
            assert self._grammar_compiler is not None, "a constraint needs a tokenizer"
            grammar = self._grammar_compiler.compile(request.constraint)
        end_ids = request.stop_ids if request.ignore_end else self._end_ids | request.stop_ids
        handle = RequestHandle(len(request.prompt_ids))
        channels = None
        if self._channels is not None and self.tokenizer is not None:
            channels = self._channels.reader(request.prompt_ids, self.tokenizer)
        recital = None if self.recital_guard is None else self.recital_guard.follow(request.prompt_ids)
        return SequenceState(request, self.context_length, end_ids, deliver, handle, grammar, recital, channels)

    def _take_incoming(self) -> None:
        self._scheduler.waiting.extend(self._incoming)
        self._incoming.clear()
        self._count()

    def _schedule(self) -> None:
        """Ends texts that were cancelled, and starts others in their place."""
        self._end_cancelled()
        for sequence in self._scheduler.schedule():
            self._counts["num_cached_tokens"] += sequence.num_computed
            self._counts["num_prompt_tokens"] += len(sequence.request.prompt_ids)
        self._count()

    def _end_cancelled(self) -> None:
        scheduler = self._scheduler
        for sequence in [each for each in (*scheduler.running, *scheduler.waiting) if each.handle.is_cancelled]:
            self._finish(sequence, "cancelled")

    def _end_unplaced(self) -> None:
        """Ends the texts for which there is no memory."""
        while self._scheduler.unplaced:
            sequence, error = self._scheduler.unplaced.pop()
            self._finish(sequence, "error", error)

    def _count(self) -> None:
        scheduler, pools = self._scheduler, self.kv_cache.pools
        self._counts["running"], self._counts["waiting"] = len(scheduler.running), len(scheduler.waiting)
        self._counts["num_preemptions"] = scheduler.num_preemptions
        num_used = [pool.num_used for pool in pools]
        self._counts["num_kv_blocks"] = sum(num_used)
        self._counts["kv_cache_bytes"] = self.kv_memory.block_bytes(num_used)
        self._counts["num_shared_kv_blocks"] = sum(pool.num_shared for pool in pools)

    def _advance(self) -> None:
        """One forward pass, and the tokens that follow from it."""
        self.on_pass()
        scheduled, prefill_cost = self._scheduler.next_pass(self._proposals())
        self._end_unplaced()
        if not scheduled:
            return
        started = self._clock()
        ids = [token for each in scheduled for token in each.token_ids]
        forward = self.forwards.of(len(ids))
        hidden = forward.hidden(ids, [each.segment for each in scheduled], self.kv_cache)  # (N, C)
        self._accept(scheduled, scheduled_logits(forward.logits, scheduled, hidden))
        self._counts["num_steps"] += 1
        num_decoding = sum(each.is_decoding for each in scheduled)
        self._budget.observe(self._clock() - started, num_decoding, prefill_cost)

    def _proposals(self) -> dict[SequenceState, list[int]]:
        """Proposed tokens, where few enough texts are decoded that a pass has room to verify them."""
        decoding, settings = self._scheduler.decoding, self.settings
        is_prefilling = len(decoding) < len(self._scheduler.running)
        if not decoding or is_prefilling or len(decoding) > settings.speculative_max_batch_size:
            return {}
        limits = {}
        for sequence in decoding:
            left = sequence.request.max_tokens - len(sequence.output_ids) - 1
            room = min(settings.num_speculative_tokens, left, self.context_length - len(sequence.ids) - 1)
            if sequence.grammar is None and room > 0:
                limits[sequence] = room
        if not limits:
            return {}
        found = self._proposer.propose([sequence.ids for sequence in limits], list(limits.values()))
        self._counts["num_proposed_tokens"] += sum(map(len, found))
        return dict(zip(limits, found, strict=True))

    def _accept(self, scheduled: Sequence[ScheduledTokens], logits: Tensor) -> None:
        """Samples a token for each text, and one more after each proposal that was right."""
        pending: list[tuple[ScheduledTokens, int]] = []
        for each in scheduled:
            sequence, rows = each.sequence, each.rows
            sequence.num_computed = each.segment.end - len(each.proposed)
            if not each.is_decoding:
                try:
                    collect_prompt_logprobs(sequence, each.segment.start, logits[rows.start : rows.stop])
                except Exception as error:
                    self._fail(sequence, error)
                    continue
            if sequence.num_computed < len(sequence.ids):
                continue
            if sequence.request.max_tokens == 0:
                self._finish(sequence, "length")
                continue
            pending.append((each, rows.start if each.is_decoding else rows.stop - 1))
        unfinished = [each.sequence for each, _ in pending]
        ended: dict[SequenceState, FinishReason] = {}
        failed: dict[SequenceState, Exception] = {}
        while pending:
            tokens = sample_tokens(logits, [(each.sequence, row) for each, row in pending], self._end_ids)
            verified = []
            for (each, row), token in zip(pending, tokens, strict=True):
                sequence, number = each.sequence, row - each.rows.start
                result = token if isinstance(token, Exception) else self._append(sequence, token, logits, row)
                if isinstance(result, NothingToWriteError):
                    ended[sequence] = "content_filter"
                elif isinstance(result, Exception):
                    failed[sequence] = result
                elif result is not None:
                    ended[sequence] = result
                elif number < len(each.proposed) and each.proposed[number] == token:
                    sequence.num_computed += 1
                    self._counts["num_accepted_tokens"] += 1
                    verified.append((each, row + 1))
            pending = verified
        for sequence in unfinished:
            if sequence in failed:
                self._fail(sequence, failed[sequence])
            elif sequence in ended:
                self._finish(sequence, ended[sequence])
            else:
                self._deliver(sequence, sequence.take_chunk())

    def _append(self, sequence: SequenceState, token: int, logits: Tensor, row: int) -> FinishReason | Exception | None:
        """Puts a token behind a text, sampled from a row of logits; returns why it ends there, its own error that it
        must end with, or None."""
        is_guarded = sequence.recital is not None and len(sequence.recital.barred) > 0
        try:
            data = b"" if self.tokenizer is None else self.tokenizer.decode_bytes([token])
            reason = sequence.accept(sampled_logprob(sequence, token, logits[row]), data)
        except Exception as error:
            return error
        self._counts["num_tokens"] += token not in sequence.end_ids
        self._counts["num_guarded_tokens"] += is_guarded
        return reason

    def _finish(self, sequence: SequenceState, reason: FinishReason, failure: BaseException | None = None) -> None:
        """Takes a text out, and delivers its last chunk."""
        self._scheduler.release(sequence)
        self._count()
        self._deliver(sequence, sequence.take_chunk(reason, failure))

    def _fail(self, sequence: SequenceState, error: Exception) -> None:
        """Ends one text for an error of its own: the others of its step go on."""
        self._scheduler.discard(sequence)
        self._finish(sequence, "error", error)

    def _finish_running(self, error: BaseException) -> None:
        """Ends the texts of a pass that failed; what the cache holds of them may be wrong."""
        self._scheduler.forget_prefixes()
        for sequence in list(self._scheduler.running):
            self._scheduler.discard(sequence)
            self._finish(sequence, "error", error)

    def _finish_all(self, reason: FinishReason) -> None:
        for sequence in [*self._scheduler.running, *self._scheduler.waiting]:
            self._finish(sequence, reason)

    def _deliver(self, sequence: SequenceState, chunk: OutputChunk) -> None:
        try:
            sequence.deliver(chunk)
        except Exception:  # a receiver that fails is no reason to stop the others
            sequence.handle.cancel()
