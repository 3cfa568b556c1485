"""`bench/gpu.py`, which is rarely run in earnest: all of it in small, on a processor."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.story

FILE = Path(__file__).parents[2] / "bench" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_gpu", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its data classes look for themselves
    spec.loader.exec_module(module)
    return module


def test_every_part_fills_the_table(gpu: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    rows = gpu.main(["--device", "cpu", "--small"])
    assert not [row for row in rows if "FAILED" in row]
    firsts = {row[0].split(maxsplit=1)[0].strip(":") for row in rows}
    assert firsts == {"products", "memory", "agreement", "step", "LoRA", "decode"}
    assert next(row for row in rows if row[0].startswith("agreement"))[3] == "texts 3/3"
    assert "| what | rate | share | memory |" in capsys.readouterr().out


def test_a_part_that_fails_does_not_stop_the_next(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(gpu, "PARTS", {"agreement": broken, "lora": gpu.lora})
    rows = gpu.main(["--device", "cpu", "--small"])
    assert [row[:2] for row in rows if "FAILED" in row] == [("agreement", "FAILED")]
    assert any(row[0].startswith("LoRA") for row in rows)
    monkeypatch.setattr(gpu, "LIMIT_S", -1.0)
    assert [row[2] for row in gpu.main(["--device", "cpu", "--small", "lora"])][-1] == "not begun after -1 s"
    assert "no kernel" in capsys.readouterr().err
