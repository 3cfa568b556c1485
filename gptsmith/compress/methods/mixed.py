"""The matrices in block formats of GGUF's, each in the one that suits it best under a budget of bytes, by GPTQ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.compress.allocation import allocate, expected_costs
from gptsmith.compress.forms import in_forms, roundable
from gptsmith.compress.gptq import gptq_model
from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.compress.moments import Moments, input_moments
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT, meta_model
from gptsmith.model.kernels.block_formats import FORMATS
from gptsmith.model.kernels.block_rounding import GRIDS
from gptsmith.model.linear.grouped import GroupedLinearSettings
from gptsmith.model.transform import require_dense

SMALLEST, LARGEST = "q4_0", "q8_0"
LEAST_BITS, MOST_BITS = (FORMATS[form].bits_per_weight for form in (SMALLEST, LARGEST))


class MixedMethodSettings(MethodSettings):
    """Calibrated on the training text. Formats are chosen by what rounding a matrix is expected to cost, and compared
    with the same format everywhere by what they do cost on other training text. Rounding is by GPTQ."""

    kind: Literal["mixed"] = "mixed"
    bits: float = Field(default=MOST_BITS, ge=LEAST_BITS, le=MOST_BITS)
    """The bits of a weight on average, over all matrices that are rounded."""
    num_bytes: int | None = Field(default=None, gt=0)
    """The bytes of all weights of the model, instead."""

    @property
    def name(self) -> str:
        return f"{self.bits:g}bits" if self.num_bytes is None else readable_bytes(self.num_bytes).replace(" ", "")

    @classmethod
    def names(cls) -> Mapping[str, Mapping[str, Any]]:
        return {}  # --bits and --bytes ask for it

    def require(self, config: GPTConfig, material: Material) -> GPTConfig:
        require_dense(config)
        model = meta_model(config)
        self._room(model, roundable(model))
        return config.model_copy(update={"linear": GroupedLinearSettings()})

    def compress(self, model: GPT, material: Material) -> GPT:
        matrices, windows = roundable(model), material.calibration_windows()
        room = self._room(model, matrices)
        moments: Iterable[Moments] = input_moments(model, windows)
        forms, cost = _best_alone(model, matrices, room, material)
        least = _num_bytes(matrices, dict.fromkeys(matrices, SMALLEST))
        smallest_change = min(matrix.numel() for matrix in matrices.values()) // 16
        if set(forms.values()) != {LARGEST} and least + smallest_change <= room:
            moments = list(moments)  # they are needed twice, and take about as much memory as the model
            mixed = allocate(
                expected_costs(model, matrices, windows, moments),
                {place: matrix.numel() for place, matrix in matrices.items()},
                room,
            )
            if material.try_out("mixed", in_forms(model, mixed)).kl_divergence < cost:
                forms = mixed
        made = gptq_model(model, forms, moments)
        names = sorted(set(forms.values()))
        material.try_out(f"{names[0] if len(names) == 1 else 'mixed'}, GPTQ", made, is_chosen=True)
        return made

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


def _best_alone(
    model: GPT, matrices: Mapping[str, Tensor], room: int, material: Material
) -> tuple[dict[str, str], float]:
    """The format that costs least in all matrices, of those that have room, and its divergence; all are tried."""
    found = []
    for name in GRIDS:
        forms = dict.fromkeys(matrices, name)
        trial = material.try_out(name, in_forms(model, forms))
        if _num_bytes(matrices, forms) <= room:
            found.append((trial.kl_divergence, forms))
    cost, forms = min(found, key=lambda each: each[0])
    return forms, cost


def _num_bytes(matrices: Mapping[str, Tensor], forms: Mapping[str, str]) -> int:
    return sum(FORMATS[form].row_bytes(matrices[place].numel()) for place, form in forms.items())
