"""The memory of the models of a server: what each needs, and its share for the KV cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gptsmith.base.memory import give_back_freed_memory
from gptsmith.generate.kv_memory import KVCacheMemory, free_bytes
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.device import DTYPES
from gptsmith.serve.load import LoadedRun, ModelDescription
from gptsmith.serve.settings import ServeSettings

WEIGHT_DTYPES = ("float32", "bfloat16")
"""Those that weights are converted to by request."""
FREE_SHARE = 0.75
"""Of the memory that is free once models are loaded, for KV caches."""


@dataclass(frozen=True)
class ModelMemory:
    """What can be had for models that are loaded on first use.

    Attributes:
        device: where they are loaded.
        dtype: the one of weights that is requested, or `auto`.
        settings: with the memory for the KV caches of all models, or None for a share of what is free.
    """

    device: torch.device
    dtype: str
    settings: ServeSettings

    def weight_bytes(self, about: ModelDescription) -> int:
        """The memory that weights take at least when they are loaded: with the dtype `auto`, weights that would take
        much as float32 stay as they came."""
        num_parameters = cost(about.config).num_parameters
        if self.dtype in WEIGHT_DTYPES:
            return num_parameters * DTYPES[self.dtype].itemsize
        return min(num_parameters * torch.float32.itemsize, about.file_bytes)

    def free_bytes(self) -> int | None:
        """The memory that is free; None if it is not known."""
        return free_bytes(self.device)

    def left_for_caches(self, promised: int, taken: int = 0) -> int | None:
        """The memory that is left for KV caches; None if there is no bound.

        Args:
            promised: the bounds of the caches that there are. What they fill is not free any more and counts twice, so
                that the figure is on the safe side.
            taken: what is about to be taken of the free memory.
        """
        given = self.settings.kv_cache_memory
        free = self.free_bytes() if given is None else None
        total = given if free is None else int(FREE_SHARE * (free - taken))
        return None if total is None else max(0, total - promised)

    def is_short(self, about: ModelDescription, promised: int) -> bool:
        """Whether a model does not fit, or could keep less than one whole context."""
        free, needed = self.free_bytes(), self.weight_bytes(about)
        if free is not None and needed > free:
            return True
        left = self.left_for_caches(promised, needed)
        return about.kind != "classifier" and left is not None and left < self._whole_context_bytes(about.config)

    def share(self, config: GPTConfig, promised: int) -> int | None:
        """The bound on the KV cache of a model that was loaded: half of what is left, so that others can follow, and
        at least a whole context if there is so much."""
        left = self.left_for_caches(promised)
        return None if left is None else max(left // 2, min(left, self._whole_context_bytes(config)))

    def _whole_context_bytes(self, config: GPTConfig) -> int:
        return KVCacheMemory.of(config, torch.float32, self.settings.engine_settings(None)).bytes_of(
            config.context_length
        )


def equal_shares(runs: Sequence[LoadedRun], settings: ServeSettings, num_others: int = 0) -> dict[str, int | None]:
    """The memory for the KV cache of each model that writes text, in each replica: equal shares of what is given, else
    of what is free on its device, `num_others` of them for models that come later."""
    given = settings.kv_cache_memory
    writers = [run for run in runs if run.classifier is None]
    shares: dict[str, int | None] = {run.name: None for run in runs}
    for run in writers:
        free = free_bytes(run.loaded.model.device) if given is None else None
        total = given if free is None else int(FREE_SHARE * free)
        shares[run.name] = None if total is None else total // (len(writers) + num_others) // settings.replicas
    return shares


def give_back_memory() -> None:
    """Returns the memory of models that are not used any more to the system."""
    give_back_freed_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
