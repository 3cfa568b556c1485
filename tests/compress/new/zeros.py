"""A kind of compression for a test: small weights of the blocks become zero."""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

import torch
from pydantic import Field

from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.model.gpt import GPT


class ZerosMethodSettings(MethodSettings):
    """Weights below a bound are set to zero."""

    kind: Literal["zeros"] = "zeros"
    bound: float = Field(default=1e-3, gt=0)

    @torch.no_grad()
    def compress(self, model: GPT, material: Material) -> GPT:
        made = deepcopy(model)
        for parameter in made.blocks.parameters():
            parameter[parameter.abs() < self.bound] = 0
        return made
