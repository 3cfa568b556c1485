"""Scheduling: which sequences run, whose keys and values the KV cache holds, and which tokens each pass reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gptsmith.base.errors import UserError
from gptsmith.generate.kv_cache import PagedKVCache, Segment
from gptsmith.generate.prefill_budget import PrefillBudget
from gptsmith.generate.prefix_cache import Prefix, PrefixCache, common_length
from gptsmith.generate.sequence import SequenceState
from gptsmith.generate.settings import EngineSettings

ROWS_MULTIPLE = 4
"""Of prompts so much is read in a pass that it has a multiple of so many tokens: each number of rows that is new to
oneDNN costs it time, and compiled code multiplies so many or twice as many at once."""
LEAST_CHUNK = 4
"""A step reads so many tokens of a prompt, or a few more, however slow it is."""

MIN_SHARED_PREFIX = 16
"""A sequence waits for another's prefill if that spares it at least so many tokens."""
HEADROOM_TOKENS = 64
"""A sequence starts where it could grow by so many tokens, so that sequences do not take turns at each of them."""
NO_TOKENS: list[int] = []


@dataclass(slots=True)
class ScheduledTokens:
    """Tokens of one sequence that a pass reads.

    Attributes:
        proposed: the last of them, which are proposals of speculative decoding.
        rows: the rows of the pass's logits that are its own.
    """

    sequence: SequenceState
    segment: Segment
    is_decoding: bool
    proposed: Sequence[int] = ()
    rows: range = range(0)

    @property
    def token_ids(self) -> list[int]:
        if self.is_decoding:
            return [self.sequence.ids[-1], *self.proposed]
        return self.sequence.ids[self.segment.start : self.segment.end]


class Scheduler:
    """Starts sequences in the order in which they come, and divides each pass between them.

    Attributes:
        waiting: sequences that have not started, or that wait again because others needed their memory.
        running: the sequences that have blocks in the cache, the oldest first.
        unplaced: sequences for which there is no memory, each with its error; whoever ends them empties it.
        num_preemptions: how many times a sequence had to wait again.
    """

    def __init__(
        self, settings: EngineSettings, cache: PagedKVCache, budget: PrefillBudget, context_length: int
    ) -> None:
        self.settings, self.cache, self.budget, self.context_length = settings, cache, budget, context_length
        self.waiting: deque[SequenceState] = deque()
        self.running: list[SequenceState] = []
        self.unplaced: list[tuple[SequenceState, Exception]] = []
        self.num_preemptions = 0
        self._prefixes = PrefixCache(cache)

    @property
    def decoding(self) -> list[SequenceState]:
        """The running sequences whose prompt has been read."""
        return [sequence for sequence in self.running if sequence.is_decoding]

    def schedule(self) -> list[SequenceState]:
        """Starts waiting sequences, as far as there is memory; returns those that start for the first time."""
        started: list[SequenceState] = []
        postponed: list[SequenceState] = []
        while self.waiting and len(self.running) < self.settings.max_num_seqs:
            sequence = self.waiting.popleft()
            if self._shares_prefix_with_a_prefill(sequence):
                postponed.append(sequence)
                continue
            if not self._start(sequence):
                self.waiting.appendleft(sequence)
                break
            if not sequence.is_preempted:
                sequence.handle.num_cached_tokens = sequence.num_computed
                started.append(sequence)
        self.waiting.extendleft(reversed(postponed))
        self._bound_prefixes()
        return started

    def release(self, sequence: SequenceState) -> None:
        """Takes a sequence out. The cache keeps its tokens for prompts that begin alike, as far as there is memory."""
        if sequence in self.running:
            self._stop(sequence)
            self._bound_prefixes()
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def discard(self, sequence: SequenceState) -> None:
        """Takes a running sequence out, of whose keys and values nothing is kept: they may be wrong."""
        self.running.remove(sequence)
        self.cache.release(sequence.table, clear=True)

    def forget_prefixes(self) -> None:
        """Forgets what sequences that have ended left in the cache."""
        self._prefixes.clear()

    def chunk_size(self, start: int) -> int:
        """How many tokens from a position on may be read beside a step of now."""
        fitting = self.budget.num_tokens(start, self.budget.allowance(len(self.decoding)))
        return int(max(ROWS_MULTIPLE, min(fitting, self.settings.max_prefill_tokens)))

    def next_pass(self, proposals: Mapping[SequenceState, list[int]]) -> tuple[list[ScheduledTokens], float]:
        """The tokens of the next pass, for which there is room in the cache: one of each sequence that is decoded, with
        its proposals, and chunks of prompts.

        Returns:
            the tokens, those of sequences with a single one first, by the length of the sequences; the cost of the
            chunks, as the prefill budget counts it.
        """
        scheduled = []
        for sequence in self.decoding:
            proposed = proposals.get(sequence, NO_TOKENS)
            segment = Segment(sequence.table, sequence.num_computed, 1 + len(proposed))
            scheduled.append(ScheduledTokens(sequence, segment, True, proposed))
        num_rows = sum(each.segment.count for each in scheduled)
        scheduled = self._with_room(scheduled + self._prefill_chunks(len(scheduled), num_rows))
        scheduled.sort(key=lambda each: (each.segment.count > 1, each.segment.end))
        cost = sum(self.budget.cost(s.segment.start, s.segment.count) for s in scheduled if not s.is_decoding)
        return scheduled, cost

    def _with_room(self, scheduled: Sequence[ScheduledTokens]) -> list[ScheduledTokens]:
        """Makes room in the cache for tokens: prefixes that nobody uses are forgotten first, then the newest sequences
        have to wait again. Returns the tokens of those that go on."""
        for each in sorted(scheduled, key=lambda each: self.running.index(each.sequence)):
            segment = each.segment
            while each.sequence in self.running:
                error: Exception | None = None
                try:
                    if self.cache.extend(segment.table, segment.start, segment.end):
                        break
                except UserError as failure:  # less memory than the bound says
                    error = failure
                if self._prefixes.evict():
                    continue
                if len(self.running) > 1:
                    self._preempt(self.running[-1])
                else:
                    self.unplaced.append((each.sequence, error or UserError("the KV cache is too small")))
                    break
        failed = {sequence for sequence, _ in self.unplaced}
        return [each for each in scheduled if each.sequence in self.running and each.sequence not in failed]

    def _prefill_chunks(self, num_decoding: int, num_rows: int) -> list[ScheduledTokens]:
        """The next chunks of prompts that the budget allows beside so many sequences, which have `num_rows` tokens."""
        allowed, room = self.budget.allowance(num_decoding), self.settings.max_prefill_tokens
        chunks: list[ScheduledTokens] = []
        cost = 0.0
        for sequence in self.running if allowed else ():
            if sequence.is_decoding:
                continue
            start = sequence.num_computed
            fitting = self.budget.num_tokens(start, allowed - cost)
            whole = (num_rows + min(fitting, room)) // ROWS_MULTIPLE * ROWS_MULTIPLE - num_rows
            least = 0 if cost else LEAST_CHUNK + -(num_rows + LEAST_CHUNK) % ROWS_MULTIPLE
            count = int(min(len(sequence.ids) - start, max(whole, least), room))
            if count > 0:
                chunks.append(ScheduledTokens(sequence, Segment(sequence.table, start, count), False))
                room -= count
                num_rows += count
                cost += self.budget.cost(start, count)
        return chunks

    def _shares_prefix_with_a_prefill(self, sequence: SequenceState) -> bool:
        """Whether much of its prompt is just being read for another sequence: it waits for that, and shares it."""
        if sequence.request.prompt_logprobs:
            return False
        others = [other for other in self.running if not other.is_decoding]
        lengths = [(common_length(other.ids, sequence.ids), other.num_computed) for other in others]
        return any(length - num_computed >= MIN_SHARED_PREFIX for length, num_computed in lengths)

    def _start(self, sequence: SequenceState) -> bool:
        """Starts a sequence with the longest prefix of its prompt that the cache holds, if it has memory to grow a
        little beside those that run; returns whether it has. One alone always has."""
        # A prompt whose log-probabilities are requested is read anew, and one token always is, for its logits.
        limit = 0 if sequence.request.prompt_logprobs else len(sequence.ids) - 1
        held = [Prefix(other.ids[: other.num_computed], other.table) for other in self.running]
        sequence.table, sequence.num_computed, prefix = self._prefixes.find(sequence.ids[:limit], held)
        if self.running and not self._has_memory_for(sequence):
            self.cache.release(sequence.table)
            return False
        if prefix is not None:
            self._prefixes.use(prefix, sequence.num_computed)
        self.running.append(sequence)
        return True

    def _has_memory_for(self, sequence: SequenceState) -> bool:
        """Whether a sequence fits beside those that run, and can grow a little."""
        bound = self.cache.memory.num_bytes
        if bound is None:
            return True
        grown = min(len(sequence.ids) + HEADROOM_TOKENS, sequence.max_length)
        most = [*((other.table, self._most_tokens(other)) for other in self.running), (sequence.table, grown)]
        growth = sum(self.cache.missing_bytes(table, num_tokens) for table, num_tokens in most)
        return self.cache.bytes_of(table for table, _ in most) + growth <= bound

    def _most_tokens(self, sequence: SequenceState) -> int:
        """The most tokens that the cache holds of a running sequence once its prompt is read."""
        return min(len(sequence.ids) + self.settings.num_speculative_tokens, sequence.max_length)

    def _preempt(self, sequence: SequenceState) -> None:
        """Has a sequence wait again."""
        self._stop(sequence)
        sequence.preempt()
        self.waiting.appendleft(sequence)
        self.num_preemptions += 1

    def _stop(self, sequence: SequenceState) -> None:
        self.running.remove(sequence)
        self._prefixes.add(sequence.ids[: sequence.num_computed], sequence.table)

    def _bound_prefixes(self) -> None:
        """Without a bound in bytes, sequences that run and those that have ended are together no more than may run."""
        if self.cache.memory.num_bytes is None:
            self._prefixes.shrink(max(0, self.settings.max_num_seqs - len(self.running)))
