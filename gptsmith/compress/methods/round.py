"""Every matrix, the embedding and the head rounded to the nearest of a block format of GGUF's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from gptsmith.compress.forms import in_forms, roundable
from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT, meta_model
from gptsmith.model.kernels.block_rounding import GRIDS
from gptsmith.model.linear.grouped import GroupedLinearSettings
from gptsmith.model.transform import require_dense


class RoundMethodSettings(MethodSettings):
    """The bytes that llama.cpp's own quantiser makes of plain weights. Norms, biases, positions, routers of experts and
    matrices whose rows are no multiple of 32 stay as they are."""

    kind: Literal["round"] = "round"
    format: Literal["q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = "q8_0"

    @property
    def name(self) -> str:
        return self.format

    @classmethod
    def names(cls) -> Mapping[str, Mapping[str, Any]]:
        return {form: {"format": form} for form in GRIDS}

    def require(self, config: GPTConfig, material: Material) -> GPTConfig:
        require_dense(config)
        roundable(meta_model(config))
        return config.model_copy(update={"linear": GroupedLinearSettings()})

    def compress(self, model: GPT, material: Material) -> GPT:
        return in_forms(model, dict.fromkeys(roundable(model), self.format))
