"""Coins and noise: fair, Gaussian, secret, and the same again."""

from __future__ import annotations

import math
import stat
from pathlib import Path

import pytest
import torch

from gptsmith.base.errors import CheckpointError
from gptsmith.run.folder import PRIVATE_KEY
from gptsmith.train.private.randomness import KEY_BYTES, PrivateRandomness, delete_key

RANDOMNESS = PrivateRandomness(b"k" * KEY_BYTES)


def test_each_unit_has_a_coin_of_its_own_in_each_step() -> None:
    steps = [RANDOMNESS.sampled_units(step, 1000, 0.2) for step in range(300)]
    sizes = torch.tensor([float(len(step)) for step in steps])
    assert float(sizes.mean()) == pytest.approx(200, abs=4 * math.sqrt(160 / 300))
    assert float(sizes.var()) == pytest.approx(160, rel=0.3)  # of a fixed batch it would be 0
    counts = torch.zeros(1000)
    for step in steps:
        counts[step] += 1
        assert len(set(step)) == len(step)
    assert float(counts.var()) == pytest.approx(300 * 0.16, rel=0.2)
    together = sum(0 in step and 1 in step for step in steps)
    assert together == pytest.approx(300 * 0.04, abs=4 * math.sqrt(12))
    assert RANDOMNESS.sampled_units(1, 5, 1.0) == [0, 1, 2, 3, 4]


def test_noise_is_standard_gaussian_and_differs_by_step_parameter_and_key() -> None:
    like = torch.zeros(401, 301, dtype=torch.float64)
    noise = RANDOMNESS.gaussian(3, "head", like)
    assert noise.shape == like.shape
    assert float(noise.mean()) == pytest.approx(0, abs=4 / math.sqrt(noise.numel()))
    assert float(noise.var()) == pytest.approx(1, abs=6 / math.sqrt(noise.numel()))
    beyond = float((noise.abs() > 2).double().mean())
    assert beyond == pytest.approx(math.erfc(2 / math.sqrt(2)), abs=0.003)
    assert float((noise**4).mean()) == pytest.approx(3, abs=0.15)
    assert torch.equal(noise, RANDOMNESS.gaussian(3, "head", like))
    others = [
        RANDOMNESS.gaussian(4, "head", like),
        RANDOMNESS.gaussian(3, "tail", like),
        PrivateRandomness(b"l" * KEY_BYTES).gaussian(3, "head", like),
    ]
    for other in others:
        assert abs(float((noise * other).mean())) < 5 / math.sqrt(noise.numel())


def test_the_key_is_its_owners_alone_and_is_not_made_twice(tmp_path: Path) -> None:
    first = PrivateRandomness.of_run(tmp_path, has_begun=False)
    assert stat.S_IMODE((tmp_path / PRIVATE_KEY).stat().st_mode) == 0o600
    again = PrivateRandomness.of_run(tmp_path, has_begun=True)
    assert first.sampled_units(1, 100, 0.5) == again.sampled_units(1, 100, 0.5)
    delete_key(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be resumed privately"):
        PrivateRandomness.of_run(tmp_path, has_begun=True)
    (tmp_path / PRIVATE_KEY).write_bytes(b"short")
    with pytest.raises(CheckpointError, match="5 bytes instead of 32"):
        PrivateRandomness.of_run(tmp_path, has_begun=True)
