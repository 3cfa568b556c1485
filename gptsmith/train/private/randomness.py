"""The coins and the noise of private training: a pure function of a secret key and the step.

Whoever knows the noise can subtract it, so the key is not the run's seed, which run.toml publishes. It lies in a file
of its own, for its owner's eyes alone, so that a run that was stopped resumes bit for bit, and is deleted with the last
step. The bits are SHAKE-256 of the key, as cryptography asks of them. The noise is rounded to floating-point numbers,
whose last bits an attacker who sees exact sums could use (Mironov 2012); the weights show no exact sums.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gptsmith.base.errors import CheckpointError
from gptsmith.run.folder import PRIVATE_KEY

KEY_BYTES = 32


class PrivateRandomness:
    """Coins and noise of one run."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of_run(cls, folder: Path, *, has_begun: bool) -> PrivateRandomness:
        """That of the run in a folder, whose key is made if it has not begun.

        Raises:
            CheckpointError: it has begun, and its key is gone.
        """
        path = folder / PRIVATE_KEY
        if not path.exists():
            if has_begun:
                raise CheckpointError(
                    f"{path}, the key of its noise, is gone: {folder} cannot be resumed privately, start a new run"
                )
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise CheckpointError(f"{path} holds {len(key)} bytes instead of {KEY_BYTES}: start a new run")
        return cls(key)

    def sampled_units(self, step: int, num_units: int, rate: float) -> list[int]:
        """The units of a step: each by a coin of its own that says yes with the probability `rate`."""
        found: list[int] = np.flatnonzero(self._uniform(num_units, "units", step) <= rate).tolist()
        return found

    def gaussian(self, step: int, name: str, like: Tensor) -> Tensor:
        """Standard Gaussian noise for the gradient of a parameter (Box and Muller 1958), in its shape and dtype."""
        count = like.numel()
        half = (count + 1) // 2
        uniform = self._uniform(2 * half, "noise", step, name)
        length, angle = np.sqrt(-2 * np.log(uniform[:half])), 2 * math.pi * uniform[half:]
        noise = np.concatenate([length * np.cos(angle), length * np.sin(angle)])[:count]
        return torch.from_numpy(noise).view(like.shape).to(like)

    def _uniform(self, count: int, *names: str | int) -> np.ndarray:
        """Numbers of 53 bits in (0, 1], float64."""
        stream = hashlib.shake_256(self._key + repr(names).encode()).digest(8 * count)
        return ((np.frombuffer(stream, "<u8") >> np.uint64(11)) + np.uint64(1)) * 2.0**-53


def delete_key(folder: Path) -> None:
    """Deletes the key of a run that has ended."""
    (folder / PRIVATE_KEY).unlink(missing_ok=True)
