"""Every matrix, the embedding and the head in one block format of GGUF's, rounded by GPTQ."""

from __future__ import annotations

from typing import ClassVar, Literal

from gptsmith.compress.forms import roundable
from gptsmith.compress.gptq import gptq_model
from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.compress.moments import input_moments
from gptsmith.model.gpt import GPT


class GPTQMethodSettings(MethodSettings):
    """Calibrated on the training text. The layout of `round`: the same bytes in number, closer to the original."""

    is_by_name: ClassVar[bool] = False

    kind: Literal["gptq"] = "gptq"
    format: Literal["q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = "q4_0"

    @property
    def name(self) -> str:
        return f"{self.format}-gptq"

    def compress(self, model: GPT, material: Material) -> GPT:
        return gptq_model(
            model, dict.fromkeys(roundable(model), self.format), input_moments(model, material.calibration_windows())
        )
