"""The one-file GPT is the trunk: the same weights give the same logits and the same gradients."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn import functional

from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset

FILE = Path(__file__).resolve().parents[2] / "examples" / "one_file_gpt.py"
RENAMED = {"position.weight": "position.embedding.weight"}
SHAPE: dict[str, Any] = {
    "vocab_size": 97, "context_length": 24, "num_layers": 2, "embed_dim": 32, "num_heads": 4, "head_dim": 8
}  # fmt: skip


@pytest.fixture(scope="module")
def one_file() -> ModuleType:
    spec = importlib.util.spec_from_file_location("one_file_gpt", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def pair(one_file: ModuleType, kind: str) -> tuple[Any, GPT]:
    """The one-file model and the trunk, with the same random weights."""
    if kind == "smith":
        ours = one_file.GPT(one_file.Config(**SHAPE, num_kv_heads=2, hidden_dim=48))
        attention = {"kind": "full", "num_kv_heads": 2, "qk_norm": True}
        config = preset("smith", **SHAPE, attention=attention, feedforward={"kind": "gated", "hidden_dim": 48})
    else:
        ours = one_file.GPT(one_file.Config.gpt2(**SHAPE, hidden_dim=128))
        config = preset("gpt2", **SHAPE)
    trunk = GPT(config)
    generator = torch.Generator().manual_seed(3)
    parameters = dict(trunk.named_parameters())
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)
            parameters.pop(RENAMED.get(name, name)).copy_(weight)
    assert not parameters, "the trunk has weights that the one file lacks"
    return ours, trunk


@pytest.mark.parametrize("kind", ["smith", "gpt2"])
def test_it_computes_the_logits_and_gradients_of_the_trunk(one_file: ModuleType, kind: str) -> None:
    ours, trunk = pair(one_file, kind)
    ids = torch.randint(SHAPE["vocab_size"], (3, SHAPE["context_length"]), generator=torch.Generator().manual_seed(4))
    logits, expected = ours(ids), trunk(ids)
    assert torch.allclose(logits, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())

    ours.loss(ids[:, :-1], ids[:, 1:]).backward()
    functional.cross_entropy(trunk(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
    gradients = {name: parameter.grad.to_dense() for name, parameter in trunk.named_parameters()}  # type: ignore[union-attr]
    # Some gradients, such as that of the keys' bias, are zero but for rounding: the largest of all sets the scale.
    scale = max(gradient.abs().max().item() for gradient in gradients.values())
    for name, weight in ours.named_parameters():
        assert torch.allclose(weight.grad, gradients[RENAMED.get(name, name)], rtol=1e-5, atol=1e-5 * scale), name


def test_it_is_short_and_needs_only_torch() -> None:
    source = FILE.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 250
    assert "gptsmith" not in [line.split()[1].split(".")[0] for line in source.splitlines() if "import " in line[:7]]


@pytest.mark.parametrize("options", [[], ["--gpt2"]])
def test_it_runs_as_a_script(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "smiths.txt"
    text.write_text("The old smith forges a nail of iron.\n" * 60, encoding="utf-8")
    words = [str(FILE), str(text), "--steps", "20", "--batch-size", "4", "--max-tokens", "20", *options]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(words[0], run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("step ")]
    assert len(losses) == 10
    assert losses[-1] < losses[0]


def test_greedy_sampling_repeats_itself(one_file: ModuleType) -> None:
    torch.manual_seed(0)
    model = one_file.GPT(one_file.Config(**SHAPE, num_kv_heads=2, hidden_dim=48))
    first, again = (model.generate([1, 2], 30, 0.0, torch.Generator()) for _ in range(2))
    assert first == again
    assert len(first) == 32
