"""One engine for all texts of a model whose weights stand still."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable
from weakref import WeakSet

from torch import Tensor

from gptsmith.generate.engine import Engine
from gptsmith.generate.recital_guard import RecitalGuard
from gptsmith.generate.settings import BATCH
from gptsmith.model.gpt import GPT
from gptsmith.model.taps import has_hooks
from gptsmith.text.tokenizer import Tokenizer

SETTINGS = BATCH.model_copy(update={"engine": "auto"})


class KeptEngine:
    """Makes a model's engine when a text is first wanted, and another one when the model has changed since.

    The costly things are done once: packing the weights, and checking compiled code. No text depends on those before
    it: what the KV cache holds of them is forgotten. May be used from any thread, and after a fork.
    """

    def __init__(self, tokenizer: Tokenizer, recital_guard: RecitalGuard | None = None) -> None:
        self._tokenizer, self._recital_guard, self._lock = tokenizer, recital_guard, threading.Lock()
        _ALL.add(self)
        self._engine: Engine | None = None
        self._state: Hashable = None

    def of(self, model: GPT) -> Engine:
        """The engine, without a thread. Weights that are changed in place by way of `.data` are not noticed."""
        state = _state(model)
        with self._lock:
            if self._engine is None or self._state != state:
                self._engine = None  # two engines would hold two copies of packed weights
                guard = self._recital_guard
                self._engine = Engine(model, self._tokenizer, settings=SETTINGS, recital_guard=guard)
                self._state = state
            self._engine.forget_prefixes()
            return self._engine


_ALL: WeakSet[KeptEngine] = WeakSet()


def _unlock_all() -> None:
    """Gives each a lock of this process: another thread may have held the one that a fork has copied, for ever."""
    for kept in _ALL:
        kept._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_all)


def _state(model: GPT) -> Hashable:
    """Differs after a change of a model's weights, modules or dtype, and in another process."""
    modules = tuple((id(module), has_hooks(module)) for module in model.modules())
    weights = tuple((id(each), each.data_ptr(), _version(each)) for each in model.parameters())
    return os.getpid(), model.compute_dtype, modules, weights


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; those of inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version
