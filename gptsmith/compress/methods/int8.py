"""Every matrix of the blocks quantized to 8 bits, row by row, to the nearest."""

from __future__ import annotations

from typing import Literal

from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.transform import quantize


class Int8MethodSettings(MethodSettings):
    """Whole numbers up to 127 with a scale a row. Embedding, norms, biases and head stay as they are."""

    kind: Literal["int8"] = "int8"

    def compress(self, model: GPT, material: Material) -> GPT:
        return quantize(model)
