"""A matrix and, if wanted, a bias."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from gptsmith.model.kernels.dense_matmul import dense_linear
from gptsmith.model.linear import LinearLayer, LinearSettings


class DenseLinearSettings(LinearSettings):
    """y = x W' + b."""

    kind: Literal["dense"] = "dense"

    @property
    def formats_in_words(self) -> str:
        return "floating point"

    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> DenseLinear:
        return DenseLinear(in_dim, out_dim, bias=bias)


class DenseEmbedding(nn.Embedding):
    """The vectors of tokens."""

    def matrix(self) -> Tensor:
        """The vectors (num_embeddings, dim)."""
        return self.weight

    def load_dense_weight(self, weight: Tensor) -> None:
        """Takes these vectors from now on, or the nearest that it can hold."""
        self.weight.copy_(weight)


class DenseLinear(nn.Linear, LinearLayer):
    """A linear layer that computes in the dtype of its input, whatever its weights are kept in."""

    def forward(self, x: Tensor) -> Tensor:
        return dense_linear(x, self.weight, self.bias)

    def matrix(self) -> Tensor:
        return self.weight

    def tie(self, weight: Tensor) -> None:
        self.weight = weight

    def load_dense_weight(self, weight: Tensor) -> None:
        self.weight.copy_(weight)
