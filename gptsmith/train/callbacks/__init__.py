"""The callbacks of a training run: everything that happens between its steps. One file each.

The contract is `gptsmith.train.trainer.Callback`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gptsmith.base.errors import ConfigurationError
from gptsmith.train.callbacks.checkpoint import SaveCheckpoints
from gptsmith.train.callbacks.evaluate import Evaluate
from gptsmith.train.callbacks.log import Log
from gptsmith.train.callbacks.progress import Progress
from gptsmith.train.callbacks.recover import Recover
from gptsmith.train.callbacks.replan import Replan
from gptsmith.train.callbacks.sample import Sample
from gptsmith.train.callbacks.signals import StopOnSignal
from gptsmith.train.callbacks.throughput import Throughput
from gptsmith.train.callbacks.trackers import Track
from gptsmith.train.trainer import Callback

_more: ContextVar[tuple[Callback, ...]] = ContextVar("more_callbacks", default=())


@contextmanager
def more_callbacks(*callbacks: Callback) -> Iterator[None]:
    """Adds callbacks to every run that starts within the block: `with more_callbacks(mine): gptsmith.pretrain(...)`.

    Raises:
        ConfigurationError: one of them is no callback.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise ConfigurationError(f"callbacks: {callback!r} is no object of a class derived from gptsmith.Callback")
    token = _more.set((*_more.get(), *callbacks))
    try:
        yield
    finally:
        _more.reset(token)


def default_callbacks(*extra: Callback) -> list[Callback]:
    """The callbacks of every run, in order; `extra` ones see a step before it is evaluated and saved.

    A step is logged, then evaluated, then sampled from, then saved: weights that are the best so far are saved with
    their loss, and a step that someone stops at is saved without an evaluation.
    """
    checkpoints, evaluate, throughput = SaveCheckpoints(), Evaluate(), Throughput()
    return [
        Track(),
        throughput,
        Replan(evaluate),
        Progress(throughput),
        Log(throughput),
        Recover(checkpoints),
        *extra,
        *_more.get(),
        StopOnSignal(),
        evaluate,
        Sample(),
        checkpoints,
    ]
