"""The matrices in block formats of GGUF's, each in the one that suits it best under a budget of bytes, by GPTQ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.compress.allocation import allocate, expected_costs
from gptsmith.compress.forms import in_forms, roundable
from gptsmith.compress.gptq import gptq_model
from gptsmith.compress.material import Material
from gptsmith.compress.methods import BLOCK_FORMATS, MethodSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import FORMATS

LEAST_BITS, MOST_BITS = 4.5, 8.5
"""Those of a weight in Q4_0 and in Q8_0."""


class MixedMethodSettings(MethodSettings):
    """Calibrated on the training text. Formats are chosen by what rounding a matrix is expected to cost, and compared
    with the same format everywhere by what they do cost on other training text. Rounding is that of `gptq`."""

    is_by_name: ClassVar[bool] = False

    kind: Literal["mixed"] = "mixed"
    bits: float = Field(default=MOST_BITS, ge=LEAST_BITS, le=MOST_BITS)
    """The bits of a weight on average, over all matrices that are rounded."""
    num_bytes: int | None = Field(default=None, gt=0)
    """The bytes of all weights of the model, instead."""

    @property
    def name(self) -> str:
        return f"{self.bits:g}bits" if self.num_bytes is None else readable_bytes(self.num_bytes).replace(" ", "")

    def compress(self, model: GPT, material: Material) -> GPT:
        matrices = roundable(model)
        forms = self._forms(model, matrices, material)
        made = gptq_model(model, forms, material.calibration_windows())
        name = "mixed, GPTQ" if len(set(forms.values())) > 1 else f"{next(iter(forms.values()))}, GPTQ"
        material.try_out(name, made, is_chosen=True)
        return made

    def _forms(self, model: GPT, matrices: Mapping[str, Tensor], material: Material) -> dict[str, str]:
        """The format of each matrix."""
        sizes = {place: matrix.numel() for place, matrix in matrices.items()}
        room = self._room(model, matrices)
        same = {name: dict.fromkeys(matrices, name) for name in BLOCK_FORMATS}
        by_bytes = {name: _num_bytes(forms, sizes) for name, forms in same.items()}
        tried = {name: material.try_out(name, in_forms(model, forms)).kl_divergence for name, forms in same.items()}
        fitting = [name for name in same if by_bytes[name] <= room]
        best = min(fitting, key=lambda name: tried[name])
        if by_bytes[best] == max(by_bytes.values()) or room < min(by_bytes.values()) + min(sizes.values()) // 16:
            return same[best]  # nothing is left to choose
        forms = allocate(expected_costs(model, matrices, material.calibration_windows()), sizes, room)
        cost = material.try_out("mixed", in_forms(model, forms)).kl_divergence
        return forms if cost < tried[best] else same[best]

    def _room(self, model: GPT, matrices: Mapping[str, Tensor]) -> int:
        """The bytes for the matrices.

        Raises:
            UserError: not even the smallest format has room.
        """
        num_weights = sum(matrix.numel() for matrix in matrices.values())
        if self.num_bytes is None:
            return int(num_weights * self.bits / 8)
        others = sum(parameter.nbytes for parameter in model.parameters()) - 4 * num_weights
        least = int(num_weights * LEAST_BITS / 8)
        if self.num_bytes < others + least:
            raise UserError(
                f"--bytes {self.num_bytes}: the least possible is {others + least} ({LEAST_BITS} bits a weight"
                f"{f', and {readable_bytes(others)} that stay in float32' if others else ''})"
            )
        return self.num_bytes - others


def _num_bytes(forms: Mapping[str, str], sizes: Mapping[str, int]) -> int:
    return sum(FORMATS[form].row_bytes(sizes[place]) for place, form in forms.items())
