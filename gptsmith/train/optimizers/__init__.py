"""The kinds of optimizer.

Contract: `settings.build(model)` returns an `Optimizer` over all parameters of the model that are trained, each exactly
once. One that is frozen (`requires_grad` is false) is in no group.

Our own parts are no `torch.optim.Optimizer`, which may stand in their place: it imports PyTorch's compiler when it is
made, a second of every run's start.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Annotated, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as update_by_adamw

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.run.sharding import part_of, with_local
from gptsmith.run.stored_tensors import StoredTensors

EPSILON = 1e-10
"""AdamW divides by the root of the mean square plus this."""


class OptimizerSettings(Settings):
    """The settings that every kind of optimizer has.

    Attributes:
        state_bytes_per_parameter: bytes of running values that the optimizer keeps for a parameter, at most.
    """

    kind: str
    state_bytes_per_parameter: ClassVar[int]

    @abstractmethod
    def build(self, model: nn.Module) -> Optimizer:
        """An optimizer for what is trained of `model`.

        Raises:
            ConfigurationError: there is nothing to train.
        """


class Part(Protocol):
    """What moves some of a model's parameters."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameters (`params`) with their rate (`lr`) and whatever else they share."""

    @property
    def state(self) -> MutableMapping[Any, Any]:
        """The running values of each parameter, by name."""

    def step(self) -> Any:
        """Moves every parameter that has a gradient."""


class Optimizer:
    """One or more parts that together hold every parameter of a model that is trained once."""

    def __init__(self, model: nn.Module, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.names = {id(parameter): name for name, parameter in trained_parameters(model).items()}
        held = [id(parameter) for parameter in self._parameters()]
        assert sorted(held) == sorted(self.names), "every parameter that is trained must be in exactly one group"
        self.full_rates = [[group["lr"] for group in part.param_groups] for part in parts]

    def step(self, lr_multiplier: float) -> None:
        """Moves every parameter by its gradient, at a share of its group's full rate, and clears the gradients."""
        for part, rates in zip(self.parts, self.full_rates, strict=True):
            for group, rate in zip(part.param_groups, rates, strict=True):
                group["lr"] = rate * lr_multiplier
            part.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        """Clears the gradients."""
        for parameter in self._parameters():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """All running values, as `parameter/value`; those of a sharded model are sharded too."""
        return {
            f"{self.names[id(parameter)]}/{key}": torch.as_tensor(value)
            for part in self.parts
            for parameter, values in part.state.items()
            for key, value in values.items()
        }

    def load_state(self, stored: StoredTensors) -> None:
        """Loads the running values that `state` returned; of a sharded model, only what its shards need is read."""
        names: dict[str, list[str]] = defaultdict(list)
        for name in stored:
            names[name.rpartition("/")[0]].append(name)
        for part in self.parts:
            for parameter in (p for group in part.param_groups for p in group["params"]):
                part.state[parameter] = {
                    name.rpartition("/")[2]: _loaded(stored, name, parameter)
                    for name in names[self.names[id(parameter)]]
                }

    def _parameters(self) -> Iterable[Tensor]:
        return (p for part in self.parts for group in part.param_groups for p in group["params"])


def _loaded(stored: StoredTensors, name: str, parameter: Tensor) -> Tensor:
    """A running value of a parameter, in memory of its own."""
    if stored.shapes[name] != tuple(parameter.shape):
        return stored.read(name).to(parameter.device, copy=True)
    return with_local(stored.read(name, part_of(parameter)).clone(), parameter)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a model that are not frozen, by name.

    Raises:
        ConfigurationError: there are none.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trained:
        raise ConfigurationError("this model has nothing to train: all of its parameters are frozen")
    return trained


class FusedAdamW:
    """AdamW over groups that name their own rate and decay, by PyTorch's fused pass. Its running values exist from the
    start: after a first pass they would lie in the memory that passes take and free, which then fit there no more."""

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float]) -> None:
        self.param_groups = [{"weight_decay": 0.0, **group} for group in groups]
        self.betas = betas
        self.state: dict[Tensor, dict[str, Tensor]] = {
            parameter: {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }
            for group in self.param_groups
            for parameter in group["params"]
        }

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            values = [self.state[parameter] for parameter in parameters]
            update_by_adamw(
                parameters,
                [parameter.grad for parameter in parameters],
                [value["exp_avg"] for value in values],
                [value["exp_avg_sq"] for value in values],
                [],
                [value["step"] for value in values],
                fused=True,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=EPSILON,
                maximize=False,
            )


KINDS = Kinds(__name__, OptimizerSettings, default="muon")
AnyOptimizer = Annotated[OptimizerSettings, KINDS]
