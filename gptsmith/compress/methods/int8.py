"""Every matrix of the blocks quantized to 8 bits, row by row, to the nearest."""

from __future__ import annotations

from typing import Literal

from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.linear.int8 import Int8LinearSettings
from gptsmith.model.transform import quantize, require_dense


class Int8MethodSettings(MethodSettings):
    """Integers from -127 to 127 with a scale a row. Embedding, norms, biases and head stay as they are."""

    kind: Literal["int8"] = "int8"

    def require(self, config: GPTConfig, material: Material) -> GPTConfig:
        require_dense(config)
        return config.model_copy(update={"linear": Int8LinearSettings()})

    def compress(self, model: GPT, material: Material) -> GPT:
        return quantize(model)
