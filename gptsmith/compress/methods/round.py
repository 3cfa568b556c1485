"""Every matrix, the embedding and the head rounded to the nearest of a block format of GGUF's."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import FORMATS
from gptsmith.model.linear import layer_name, linear_layers
from gptsmith.model.linear.grouped import grouped
from gptsmith.model.transform import quantize


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
    block = FORMATS[form].block_size
    forms = {place: form if matrix.shape[1] % block == 0 else None for place, matrix in matrices(model).items()}
    if not any(forms.values()):
        raise UserError(f"no matrix of this model has rows of whole blocks of {block}, as {form} needs them")
    return quantize(model, grouped(forms))


def matrices(model: GPT) -> dict[str, Tensor]:
    """The matrices (out, in) of a dense model that may be rounded, by their place; a tied head is the embedding."""
    found = {"embedding": model.embedding.matrix()}
    for place, layer in linear_layers(model).items():
        if layer_name(place) not in STAY and not (model.config.tie_embeddings and place == "head"):
            found[place] = layer.matrix()
    return found


STAY = ("feedforward.router", "score_head")
"""Rounding a router would choose other experts."""
