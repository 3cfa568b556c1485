"""Devices and dtypes by name."""

from __future__ import annotations

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.model import device
from gptsmith.model.device import choose_device, choose_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(("cuda", "mps", "chosen"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device() == torch.device(chosen)
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "tpu", ""])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"no device .*there is: cpu; or auto"):
        choose_device(name)


@pytest.mark.parametrize(
    ("has", "slowdown", "chosen"),
    [(True, 0.5, torch.bfloat16), (True, 1.1, torch.bfloat16), (True, 1.8, torch.float32), (False, 0.5, torch.float32)],
)
def test_auto_takes_bfloat16_where_the_hardware_has_it_and_is_no_slower(
    monkeypatch: pytest.MonkeyPatch, has: bool, slowdown: float, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda _: has)
    monkeypatch.setattr(device, "_slowdown_of_bfloat16", lambda: slowdown)
    assert choose_dtype("auto", CPU) == chosen


def test_the_slowdown_of_bfloat16_is_a_ratio_measured_once() -> None:
    found = device._slowdown_of_bfloat16()
    assert 0 < found < float("inf")
    assert device._slowdown_of_bfloat16() == found


def test_a_dtype_by_name_is_taken_as_it_is() -> None:
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    assert choose_dtype("float64", CPU) == torch.float64
    with pytest.raises(UserError, match=r"no dtype float16 \(allowed: auto, float32, bfloat16, float64\)"):
        choose_dtype("float16", CPU)
