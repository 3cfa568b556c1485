"""The weights in one file of NumPy's, by their names in gptsmith."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from gptsmith.convert.formats import FormatSettings, Source


class NpzFormatSettings(FormatSettings):
    """weights.npz, for programs that compute with NumPy."""

    kind: Literal["npz"] = "npz"
    precision: Literal["float32", "float16"] = "float32"

    def check(self, source: Source) -> None:
        """Holds any model."""

    def write(self, source: Source, folder: Path) -> None:
        weights = {name: weight.float().numpy() for name, weight in source.model.state_dict().items()}
        np.savez(folder / "weights.npz", **{name: weight.astype(self.precision) for name, weight in weights.items()})

    def backend(self, folder: Path) -> str:
        return "no program reads it here"
