"""Scheduling: which sequences run, in which slots of the KV cache, and which tokens each pass reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from gptsmith.generate.kv_cache import Segment, SlotKVCache
from gptsmith.generate.prefill_budget import PrefillBudget
from gptsmith.generate.sequence import SequenceState
from gptsmith.generate.settings import EngineSettings

CHUNK_MULTIPLE = 4
"""Prompts are read in chunks of multiples of so many tokens: each number of rows that is new to oneDNN costs it time. A
step reads one multiple, however slow it is."""

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
    """Gives slots to sequences in the order in which they come, and divides each pass between them.

    Attributes:
        waiting: sequences without a slot.
        running: sequences with one.
        unplaced: sequences for which there is no memory, each with its error; whoever ends them empties it.
    """

    def __init__(
        self,
        settings: EngineSettings,
        cache: SlotKVCache,
        budget: PrefillBudget,
        context_length: int,
        max_cached_tokens: float = inf,
    ) -> None:
        """`max_cached_tokens` bounds the tokens of all sequences in the cache; one alone always fits."""
        self.settings, self.cache, self.budget, self.context_length = settings, cache, budget, context_length
        self.max_cached_tokens = max_cached_tokens
        self.waiting: deque[SequenceState] = deque()
        self.running: list[SequenceState] = []
        self.unplaced: list[tuple[SequenceState, Exception]] = []
        self._prefixes: dict[int, list[int]] = {}
        """The tokens of each slot that no sequence uses now, for prefix caching."""
        self._released_at: dict[int, int] = {}
        self._num_released = 0

    @property
    def decoding(self) -> list[SequenceState]:
        """The running sequences whose prompt has been read."""
        return [sequence for sequence in self.running if sequence.is_decoding]

    def schedule(self) -> list[SequenceState]:
        """Gives free slots to waiting sequences, as far as there is memory; returns those that have got one for the
        first time."""
        self._preempt()
        started: list[SequenceState] = []
        postponed: list[SequenceState] = []
        while self.waiting and len(self.running) < self.settings.max_num_seqs:
            sequence = self.waiting.popleft()
            if not self._has_memory_for(sequence):
                self.waiting.appendleft(sequence)
                break
            if self._shares_prefix_with_a_prefill(sequence):
                postponed.append(sequence)
                continue
            try:
                self._reserve(len(self.running) + len(self.waiting) + 1, sequence.max_length)
            except Exception as error:  # too little memory
                self.unplaced.append((sequence, error))
                continue
            self._start(sequence)
            if not sequence.is_preempted:
                sequence.handle.num_cached_tokens = sequence.num_computed
                started.append(sequence)
        self.waiting.extendleft(reversed(postponed))
        self._close_gaps()
        self._trim()
        return started

    def release(self, sequence: SequenceState) -> None:
        """Takes a sequence out. Its slot keeps its tokens for prompts that begin alike."""
        if sequence in self.running:
            self._free(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def _free(self, sequence: SequenceState) -> None:
        self.running.remove(sequence)
        self._num_released += 1
        self._prefixes[sequence.slot] = sequence.ids[: sequence.num_computed]
        self._released_at[sequence.slot] = self._num_released

    def forget(self, slot: int) -> None:
        """Empties a free slot. A NaN in it would reach whoever gets it next: masked keys count 0 times, and 0 times NaN
        is NaN."""
        self._prefixes.pop(slot, None)
        self.cache.clear(slot)

    def forget_all(self) -> None:
        """Empties all slots; none may be in use."""
        for slot in range(self.cache.num_slots):
            self.forget(slot)

    def chunk_size(self, start: int) -> int:
        """How many tokens from a position on may be read beside a step of now."""
        fitting = self.budget.num_tokens(start, self.budget.allowance(len(self.decoding)))
        return int(max(CHUNK_MULTIPLE, min(fitting, self.settings.max_prefill_tokens)))

    def next_pass(self, proposals: Mapping[SequenceState, list[int]]) -> tuple[list[ScheduledTokens], int, float]:
        """The tokens of the next pass: one of each sequence that is decoded, with its proposals, and chunks of prompts.

        Returns:
            the tokens; how many sequences come first with a single one, in the order of their slots; the cost of the
            chunks, as the prefill budget counts it.
        """
        scheduled = []
        for sequence in self.decoding:
            proposed = proposals.get(sequence, NO_TOKENS)
            segment = Segment(sequence.slot, sequence.num_computed, 1 + len(proposed))
            scheduled.append(ScheduledTokens(sequence, segment, True, proposed))
        chunks, cost = self._prefill_chunks(len(scheduled))
        scheduled += chunks
        scheduled.sort(key=lambda each: (each.segment.count > 1, each.segment.slot))
        return scheduled, sum(each.segment.count == 1 for each in scheduled), cost

    def _prefill_chunks(self, num_decoding: int) -> tuple[list[ScheduledTokens], float]:
        """The next chunks of prompts that the budget allows beside so many sequences, and their cost."""
        allowed, room = self.budget.allowance(num_decoding), self.settings.max_prefill_tokens
        chunks: list[ScheduledTokens] = []
        cost = 0.0
        for sequence in self.running if allowed else ():
            if sequence.is_decoding:
                continue
            start = sequence.num_computed
            fitting = self.budget.num_tokens(start, allowed - cost)
            whole = max(min(fitting, room) // CHUNK_MULTIPLE * CHUNK_MULTIPLE, 0 if cost else CHUNK_MULTIPLE)
            count = int(min(len(sequence.ids) - start, whole, room))
            if count > 0:
                chunks.append(ScheduledTokens(sequence, Segment(sequence.slot, start, count), False))
                room -= count
                cost += self.budget.cost(start, count)
        return chunks, cost

    def _shares_prefix_with_a_prefill(self, sequence: SequenceState) -> bool:
        """Whether much of its prompt is just being read for another sequence: it waits for that, and gets a copy."""
        if sequence.request.prompt_logprobs:
            return False
        others = [other for other in self.running if not other.is_decoding]
        shared = max((_common(other.ids, sequence.ids) for other in others), default=0)
        return shared - self._num_cached(sequence) >= MIN_SHARED_PREFIX if shared >= MIN_SHARED_PREFIX else False

    def _num_cached(self, sequence: SequenceState) -> int:
        """How many tokens of its prompt some slot holds."""
        held = [*self._prefixes.values(), *(other.ids[: other.num_computed] for other in self.running)]
        return max((_common(ids, sequence.ids) for ids in held), default=0)

    def _start(self, sequence: SequenceState) -> None:
        """Gives a sequence the free slot that holds the longest prefix of its prompt, or a copy of what another holds
        of it."""
        # A prompt whose log-probabilities are requested is read anew, and one token always is, for its logits.
        limit = 0 if sequence.request.prompt_logprobs else len(sequence.ids) - 1
        held = {slot: self._prefixes.get(slot, []) for slot in range(self.cache.num_slots)}
        taken = {other.slot: other.ids[: other.num_computed] for other in self.running}
        shared = {slot: min(_common(ids, sequence.ids), limit) for slot, ids in {**held, **taken}.items()}
        slot = max(
            held.keys() - taken.keys(),
            key=lambda free: (shared[free], -len(held[free]), -self._released_at.get(free, 0), -free),
        )
        best = max(shared, key=lambda other: shared[other])
        self._prefixes.pop(slot, None)
        if shared[best] > shared[slot]:
            self.cache.copy(best, slot, shared[best])
        sequence.slot, sequence.num_computed = slot, shared[best]
        self.running.append(sequence)

    def _reserve(self, num_slots: int, num_tokens: int) -> None:
        """Makes room in the cache for so many sequences, as far as they may run at once: exactly as much as is needed
        at first, then at least twice as much as before."""
        cache = self.cache
        if not cache.is_lazy and self.max_cached_tokens < inf:
            cache.reserve(len(self.running) + 1, num_tokens)
            return
        num_slots = min(num_slots, self.settings.max_num_seqs)
        if num_slots > cache.num_slots:
            num_slots = min(max(num_slots, 2 * cache.num_slots), self.settings.max_num_seqs)
        if num_tokens > cache.capacity:
            num_tokens = min(max(num_tokens, 2 * cache.capacity), self.context_length)
        cache.reserve(num_slots, num_tokens)

    def _has_memory_for(self, sequence: SequenceState) -> bool:
        """Whether a sequence fits beside those that run, and can grow a little."""
        if not self.running or self.max_cached_tokens == inf:
            return True
        if self.cache.is_lazy:
            grown = min(len(sequence.ids) + HEADROOM_TOKENS, sequence.max_length)
            return sum(map(self._most_tokens, self.running)) + grown <= self.max_cached_tokens
        num_slots = max(self.cache.num_slots, len(self.running) + 1)
        return num_slots * max(self.cache.capacity, sequence.max_length) <= self.max_cached_tokens

    def _most_tokens(self, sequence: SequenceState) -> int:
        """The most tokens that the cache holds of a running sequence after the next pass."""
        return min(len(sequence.ids) + self.settings.num_speculative_tokens, sequence.max_length)

    def _preempt(self) -> None:
        """Has the newest sequences wait again while the others need their memory."""
        if not self.cache.is_lazy:
            return
        while len(self.running) > 1 and sum(map(self._most_tokens, self.running)) > self.max_cached_tokens:
            sequence = self.running[-1]
            self._free(sequence)
            sequence.preempt()
            self.waiting.appendleft(sequence)

    def _trim(self) -> None:
        """Gives back memory beyond the bound: of free slots, the longest unused ones first, then what others have left
        behind in slots in use."""
        if self.max_cached_tokens == inf or not self.cache.is_lazy:
            return
        kept = {sequence.slot: self._most_tokens(sequence) for sequence in self.running}
        slots = range(self.cache.num_slots)
        excess = sum(max(self.cache.num_written(slot), kept.get(slot, 0)) for slot in slots) - self.max_cached_tokens
        for slot in sorted(slots, key=lambda slot: (slot in kept, self._released_at.get(slot, 0))):
            freed = self.cache.num_written(slot) - kept.get(slot, 0)
            if excess > 0 and freed > 0:
                self.cache.release(slot, kept.get(slot, 0))
                excess -= freed
                if slot not in kept:
                    self._prefixes.pop(slot, None)

    def _close_gaps(self) -> None:
        """Moves sequences to the first slots: those that lie one behind the other attend as a batch."""
        used = {sequence.slot: sequence for sequence in self.running}
        gaps = [slot for slot in range(len(used)) if slot not in used]
        for gap, slot in zip(gaps, sorted(used, reverse=True), strict=False):
            sequence = used[slot]
            prefix = self._prefixes.pop(gap, [])
            self.cache.swap(gap, slot, max(len(prefix), sequence.num_computed))
            self._prefixes[slot], self._released_at[slot] = prefix, self._released_at.get(gap, 0)
            sequence.slot = gap


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of the longest common prefix."""
    count = 0
    for here, there in zip(one, other, strict=False):
        if here != there:
            break
        count += 1
    return count
