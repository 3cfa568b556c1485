"""AdamW for everything (Loshchilov and Hutter 2019), as the GPT series was trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from gptsmith.train.optimizers import Optimizer, OptimizerSettings, fused_adamw, trained_parameters


class AdamWSettings(OptimizerSettings):
    """Adam with decoupled weight decay on matrices and embeddings, none on norms and biases."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    """The full rate."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the running mean of gradients."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the running mean of squared gradients."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Share of a weight, times the rate, that is taken off at each step."""

    def build(self, model: nn.Module) -> Optimizer:
        parameters = list(trained_parameters(model).values())
        groups = [
            {
                "params": [p for p in parameters if p.dim() >= 2],
                "lr": self.learning_rate,
                "weight_decay": self.weight_decay,
            },
            {"params": [p for p in parameters if p.dim() < 2], "lr": self.learning_rate},
        ]
        return Optimizer(model, [fused_adamw([g for g in groups if g["params"]], (self.beta1, self.beta2))])
