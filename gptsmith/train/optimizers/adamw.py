"""AdamW for everything (Loshchilov and Hutter 2019), as the GPT series was trained."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from gptsmith.train.optimizers import FusedAdamW, Optimizer, OptimizerSettings, trained_parameters

EMBEDDING = "embedding.weight"


class AdamWSettings(OptimizerSettings):
    """Adam with decoupled weight decay on matrices and embeddings, none on norms and biases."""

    kind: Literal["adamw"] = "adamw"
    state_bytes_per_parameter: ClassVar[int] = 8  # the means of gradients and of squared gradients, in float32
    learning_rate: float = Field(default=1e-3, gt=0)
    """The peak learning rate."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the running mean of gradients."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the running mean of squared gradients."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay: each step subtracts this fraction of a weight, times the learning rate."""
    embedding_lr_multiplier: float = Field(default=1.0, gt=0)
    """The embedding's learning rate, as a multiple of the peak. Fine-tuning sets it to the ratio of its weights' size
    to that of the blocks' matrices, so that both have the same relative change."""

    def build(self, model: nn.Module) -> Optimizer:
        named = trained_parameters(model)
        parameters = [parameter for name, parameter in named.items() if name != EMBEDDING]
        decay = self.weight_decay
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.dim() >= 2], "lr": self.learning_rate, "weight_decay": decay},
            {"params": [p for p in parameters if p.dim() < 2], "lr": self.learning_rate},
            {
                "params": [named[EMBEDDING]] if EMBEDDING in named else [],
                "lr": self.learning_rate * self.embedding_lr_multiplier,
                "weight_decay": decay / self.embedding_lr_multiplier,
            },
        ]
        return Optimizer(model, [FusedAdamW([g for g in groups if g["params"]], (self.beta1, self.beta2))])
