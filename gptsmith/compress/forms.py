"""Which matrices of a model block formats can hold, and the model with them in such formats."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import FORMATS
from gptsmith.model.linear import layer_name, linear_layers
from gptsmith.model.linear.grouped import grouped
from gptsmith.model.transform import quantize

STAY = ("feedforward.router", "score_head")
"""Rounding a router would choose other experts."""


def roundable(model: GPT) -> dict[str, Tensor]:
    """The matrices (out, in) of a dense model that block formats can hold, by place; a tied head is the embedding.

    Raises:
        UserError: there are none.
    """
    found = {"embedding": model.embedding.matrix()}
    for place, layer in linear_layers(model).items():
        if layer_name(place) not in STAY and not (model.config.tie_embeddings and place == "head"):
            found[place] = layer.matrix()
    block = FORMATS["q8_0"].block_size
    found = {place: matrix for place, matrix in found.items() if matrix.shape[1] % block == 0}
    if not found:
        raise UserError(f"no matrix of this model has rows of whole blocks of {block}, as block formats need them")
    return found


def in_forms(model: GPT, forms: Mapping[str, str]) -> GPT:
    """A model with the matrices at these places rounded to the nearest of these formats; others stay.

    Raises:
        UserError: the model is not dense, or a format cannot hold a matrix.
    """
    return quantize(model, grouped({**dict.fromkeys(linear_layers(model)), **forms}))
