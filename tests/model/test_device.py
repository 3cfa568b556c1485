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
    ("has", "name", "has_amx", "chosen"),
    [
        (True, "AMD EPYC", False, torch.bfloat16),
        (True, "Intel(R) Xeon(R) Processor", True, torch.bfloat16),
        (True, "Intel(R) Xeon(R) Processor", False, torch.float32),
        (False, "AMD EPYC", False, torch.float32),
    ],
)
def test_auto_takes_bfloat16_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, has: bool, name: str, has_amx: bool, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(device, "processor_name", lambda: name)
    device._is_intel.cache_clear()
    try:
        assert choose_dtype("auto", CPU) == chosen
    finally:
        device._is_intel.cache_clear()


def test_a_dtype_by_name_is_taken_as_it_is() -> None:
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    assert choose_dtype("float64", CPU) == torch.float64
    with pytest.raises(UserError, match=r"no dtype float16 \(allowed: auto, float32, bfloat16, float64\)"):
        choose_dtype("float16", CPU)
