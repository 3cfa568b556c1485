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


def test_auto_takes_bfloat16_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, chosen in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(device, "multiplies_bfloat16", lambda _, has=has: has)
        assert choose_dtype("auto", CPU) == chosen
    assert choose_dtype("float64", CPU) == torch.float64
    with pytest.raises(UserError, match=r"no dtype float16 \(allowed: auto, float32, bfloat16, float64\)"):
        choose_dtype("float16", CPU)
