"""Whether compiling a model's blocks pays itself back within a run: tried, with the shape of the run itself."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace

import torch

from gptsmith.base.console import note
from gptsmith.base.errors import one_line
from gptsmith.base.memory import give_back_freed_memory
from gptsmith.model.compiling import missing_for_compiling
from gptsmith.model.config import GPTConfig
from gptsmith.train.planning.plan import Corpus, Plan, useful_tokens
from gptsmith.train.planning.throughput import step_times

LEAST_S = 900.0
"""Shorter runs are not tried: compiling takes about half a minute on two cores, and saves a few per cent of a run there
(LOG.md)."""
MOST_WINDOWS = 8
"""Of the trial: steps of a large batch need no longer ones to be compared."""


@dataclass(frozen=True)
class CompileTrial:
    """The time of steps with compiled blocks.

    Attributes:
        times_faster: the time of a plain step, over that of a compiled one.
        first_s: the first compiled step, in which the compiler works.
        took_s: the trial.
    """

    times_faster: float
    first_s: float
    took_s: float

    def saved_s(self, left_s: float) -> float:
        """What compiling saves of so many seconds of plain steps. The run is taken to compile again, although it finds
        most of what the trial compiled."""
        return left_s * (1 - 1 / self.times_faster) - self.first_s


def can_compile(config: GPTConfig, device: torch.device) -> bool:
    """Whether the blocks of such a model can be compiled here. Those with experts choose as they go."""
    return not config.feedforward.chooses_experts and missing_for_compiling(device) is None


def compile_trial(config: GPTConfig, num_windows: int, device: torch.device, dtype: torch.dtype) -> CompileTrial:
    """Times some steps with plain and with compiled blocks."""
    started = time.perf_counter()
    num_windows = min(num_windows, MOST_WINDOWS)
    plain, (first_s, *others) = (
        [sum(parts) for parts in step_times(config, num_windows, device, dtype, compiles=compiles)]
        for compiles in (False, True)
    )
    give_back_freed_memory()
    times_faster = statistics.median(plain[1:] or plain) / statistics.median(others)
    return CompileTrial(times_faster, first_s, time.perf_counter() - started)


def with_compiling(
    plan: Plan, config: GPTConfig, corpus: Corpus, left_s: float, device: torch.device, dtype: torch.dtype
) -> tuple[Plan, CompileTrial | None]:
    """The plan with compiled blocks and the more tokens that they are worth in the seconds that are left, and the trial
    of it; the plan as it is and None if that saves no time, or the run is too short to try."""
    if left_s < LEAST_S or not can_compile(config, device):
        return plan, None
    note("trying whether compiled blocks (torch.compile) save time: this takes half a minute or more")
    try:
        trial = compile_trial(config, plan.tokens_per_step // config.context_length, device, dtype)
    except RuntimeError as error:
        note(f"nothing is compiled: PyTorch's compiler failed ({type(error).__name__}: {one_line(error)})", "yellow")
        return plan, None
    saved_s = trial.saved_s(left_s)
    if saved_s <= trial.took_s:
        return plan, None
    gained = 1 + (saved_s - trial.took_s) / left_s * trial.times_faster
    num_tokens = min(round(plan.num_tokens * gained), useful_tokens(corpus.num_tokens))
    return replace(plan, num_tokens=num_tokens, compiles=True), trial
