"""Whether the blocks of a run's model can be compiled, if that is set."""

from __future__ import annotations

from gptsmith.base.errors import ConfigurationError
from gptsmith.model.compiling import missing_for_compiling
from gptsmith.model.device import choose_device
from gptsmith.train.run_settings import TrainingSettings

LEAVE_IT = "leave out train.compile, or set train.compile=false"


def require_compilable(settings: TrainingSettings) -> None:
    """
    Raises:
        ConfigurationError: `train.compile` is set, and this machine or this kind of run cannot do it.
    """
    if not settings.train.compile:
        return
    if settings.made_by != "pretrain":
        raise ConfigurationError(f"train.compile is for pretrain, where all passes have one shape: {LEAVE_IT}")
    if settings.parallel.shard:
        raise ConfigurationError(f"train.compile and parallel.shard do not go together: {LEAVE_IT}")
    if settings.model.feedforward.chooses_experts:
        raise ConfigurationError(f"train.compile: experts, chosen token by token, cannot be compiled: {LEAVE_IT}")
    missing = missing_for_compiling(choose_device(settings.train.device))
    if missing is not None:
        raise ConfigurationError(f"train.compile needs {missing}, which this machine lacks: install it, or {LEAVE_IT}")
