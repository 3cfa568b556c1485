"""Every matrix, the embedding and the head rounded to the nearest of a block format of GGUF's."""

from __future__ import annotations

from typing import Literal

from gptsmith.base.errors import UserError
from gptsmith.compress.methods import MethodSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import FORMATS
from gptsmith.model.linear import layer_name, linear_layers
from gptsmith.model.linear.grouped import grouped
from gptsmith.model.transform import quantize


class RoundMethodSettings(MethodSettings):
    """The bytes that llama.cpp's own quantiser makes of plain weights. Norms, biases, positions, routers of experts and
    matrices whose rows are no multiple of 32 stay as they are."""

    kind: Literal["round"] = "round"
    format: Literal["q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = "q8_0"

    @property
    def name(self) -> str:
        return self.format

    def compress(self, model: GPT) -> GPT:
        tied = model.config.tie_embeddings
        widths = {"embedding": model.config.embed_dim}
        for place, layer in linear_layers(model).items():
            if not (tied and place == "head"):
                widths[place] = layer.matrix().shape[1]
        block = FORMATS[self.format].block_size
        forms = {
            place: self.format if width % block == 0 and layer_name(place) not in STAY else None
            for place, width in widths.items()
        }
        if not any(forms.values()):
            raise UserError(f"no matrix of this model has rows of whole blocks of {block}, as {self.format} needs them")
        return quantize(model, grouped(forms))


STAY = ("feedforward.router", "score_head")
"""Rounding a router would choose other experts."""
