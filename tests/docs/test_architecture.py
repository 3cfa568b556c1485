"""The page of the architecture: its paths exist, its floors are those of the imports, and its example kind works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from tests.dropped_kind import dropped_kind
from tests.test_floors import FLOOR_OF, PACKAGE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`((?:gptsmith|docs|tests|examples)/[\w./]*)`", PAGE)))


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_picture_has_every_room_in_the_order_of_the_floors() -> None:
    (picture,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    rooms = [
        room
        for line in picture.splitlines()
        for room in re.findall(r"^  (\w+)(?:   (\w+))?", line)[0:1]
        for room in room
        if room in FLOOR_OF
    ]
    floors = [FLOOR_OF[room] for room in rooms]
    assert floors == sorted(floors, reverse=True)
    assert set(rooms) == {room for room in FLOOR_OF if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file()}


def test_the_example_of_a_kind_works(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "scalenorm.py").write_text(source, encoding="utf-8")
    with dropped_kind("gptsmith.model.norm", tmp_path / "scalenorm.py"):
        shape = {
            "vocab_size": 20,
            "embed_dim": 32,
            "num_layers": 1,
            "num_heads": 2,
            "head_dim": 16,
            "context_length": 8,
        }
        model = GPT(preset("smith", norm={"kind": "scalenorm"}, **shape))
        x = torch.randn(2, 3, 32)
        assert torch.allclose(model.final_norm(x).norm(dim=-1), torch.ones(2, 3))
        assert model(torch.tensor([[1, 2, 3]])).shape == (1, 3, 20)
