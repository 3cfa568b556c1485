"""Every matrix, the embedding and the head rounded to the nearest of a block format of GGUF's."""

from __future__ import annotations

from typing import ClassVar, Literal

from gptsmith.compress.forms import in_forms, roundable
from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.model.gpt import GPT


class RoundMethodSettings(MethodSettings):
    """The bytes that llama.cpp's own quantiser makes of plain weights. Norms, biases, positions, routers of experts and
    matrices whose rows are no multiple of 32 stay as they are."""

    is_by_name: ClassVar[bool] = False

    kind: Literal["round"] = "round"
    format: Literal["q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = "q8_0"

    @property
    def name(self) -> str:
        return self.format

    def compress(self, model: GPT, material: Material) -> GPT:
        return rounded(model, self.format)


def rounded(model: GPT, form: str) -> GPT:
    """A model with all matrices that a block format can hold in it.

    Raises:
        UserError: it can hold none.
    """
    return in_forms(model, dict.fromkeys(roundable(model), form))
