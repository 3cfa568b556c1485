"""An optimizer as a person would add it: one file, dropped into `gptsmith/train/optimizers`."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from gptsmith.train.optimizers import Optimizer, OptimizerSettings, trained_parameters


class SgdSettings(OptimizerSettings):
    """Stochastic gradient descent with momentum (Polyak 1964)."""

    kind: Literal["dropped_sgd"] = "dropped_sgd"
    state_bytes_per_parameter: ClassVar[int] = 4
    learning_rate: float = Field(default=0.1, gt=0)
    """The full rate."""

    def build(self, model: nn.Module) -> Optimizer:
        parameters = list(trained_parameters(model).values())
        return Optimizer(model, [torch.optim.SGD(parameters, lr=self.learning_rate, momentum=0.9)])
