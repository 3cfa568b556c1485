"""Attention whose output passes a gate of its input (Qiu et al. 2025, Gated Attention for Large Language Models)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from gptsmith.model.attention import DotProductAttentionSettings
from gptsmith.model.attention.full import FullAttention
from gptsmith.model.dims import LayerDims


class OutputGateAttentionSettings(DotProductAttentionSettings):
    """What the heads found is multiplied with sigmoid(x W)."""

    kind: Literal["output_gate"] = "output_gate"

    def build(self, dims: LayerDims, layer: int) -> OutputGateAttention:
        return OutputGateAttention(self, dims, layer)


class OutputGateAttention(FullAttention):
    """(softmax(QK'/sqrt d_k)V * sigmoid(x W)) W_o."""

    def add_projections(self, settings: DotProductAttentionSettings, dims: LayerDims) -> None:
        super().add_projections(settings, dims)
        self.gate = dims.linear.build(dims.embed_dim, self.num_heads * self.head_dim, settings.bias, "attention.gate")

    def combine(self, attended: Tensor, x: Tensor) -> Tensor:
        gate = self.gate(x).sigmoid().unflatten(-1, (self.num_heads, self.head_dim))  # (B, T, H, D)
        return super().combine(attended * gate.transpose(1, 2), x)
