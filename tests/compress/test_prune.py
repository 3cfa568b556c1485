"""Layers and feed-forward units that do least go: known answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.base.errors import UserError
from gptsmith.compress.material import Material
from gptsmith.compress.methods.prune import PruneMethodSettings, largest, layer_influences, unit_importances
from gptsmith.model.gpt import GPT
from gptsmith.model.layout import Layout
from gptsmith.model.linear.lora import LoraLinearSettings
from gptsmith.model.position import Positions
from gptsmith.model.presets import preset
from gptsmith.model.transform import quantize, with_adapters

SMALL: dict[str, Any] = {"num_layers": 4, "embed_dim": 64, "vocab_size": 30, "num_heads": 2, "context_length": 16}
SLIDING = {"kind": "sliding_window", "window_size": 3}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "smith": ("smith", {"head_dim": 32}),
    "gpt2": ("gpt2", {}),
    "every second layer windowed": ("smith", {"head_dim": 32, "attention": SLIDING}),
    "listed layers windowed": (
        "smith",
        {
            "head_dim": 32,
            "attention": {**SLIDING, "layers": [1, 3]},
            "position": {"kind": "local_rotary", "local_layers": [1, 3], "local_base": 10.0},
        },
    ),
    "listed layers rotated": ("smith", {"head_dim": 32, "position": {"kind": "rotary", "layers": [0, 1, 3]}}),
    "experts": ("smith", {"head_dim": 32, "feedforward": {"kind": "experts", "num_experts": 3, "balance_rate": 0.1}}),
    "labels": ("gpt2", {"num_labels": 3}),
    "parallel": ("smith", {"head_dim": 32, "parallel_residual": True, "tie_embeddings": True}),
}


def made(name: str) -> GPT:
    """A model of one of the shapes with weights everywhere."""
    which, changes = SHAPES[name]
    model = GPT(preset(which, **SMALL, **changes)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def material(*batches: Tensor) -> Material:
    return cast(Material, SimpleNamespace(calibration_windows=lambda: list(batches), findings={}))


def some_text(rows: int = 2, seed: int = 3) -> Tensor:
    return torch.randint(30, (rows, 16), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("idle", [1, 2])
@torch.no_grad()
def test_a_layer_that_adds_nothing_goes_first_and_nothing_changes(name: str, idle: int) -> None:
    """Layers behind it keep their windows and their rotations, whatever number they get."""
    model, text = made(name), some_text()
    for place, parameter in model.blocks[idle].named_parameters():
        if ".output." in place:
            parameter.zero_()
    before = {place: parameter.clone() for place, parameter in model.named_parameters()}
    found = material(text)
    small = PruneMethodSettings(num_layers=3).compress(model, found)
    assert found.findings["kept_layers"] == [layer for layer in range(4) if layer != idle]
    assert small.config.num_layers == 3
    assert torch.equal(small(text), model(text))
    if model.config.num_labels:
        assert torch.equal(small.scores(small.hidden(text)), model.scores(model.hidden(text)))
    assert all(torch.equal(before[place], parameter) for place, parameter in model.named_parameters())
    assert not small.training


def test_a_pattern_that_fits_stays_a_pattern() -> None:
    odd = made("every second layer windowed").config.attention
    assert odd.of_layers([0, 3]) == odd
    assert odd.of_layers([1, 2, 3]).plain()["layers"] == [0, 2]


@torch.no_grad()
def test_influence_is_measured_over_all_tokens_of_all_batches() -> None:
    model, batches = made("smith"), [some_text(3), some_text(1, seed=4)]
    sums, num_tokens = torch.zeros(4), 0
    for input_ids in batches:
        positions = Positions.of(model.position, Layout.causal(16, model.device))
        x = model.embedding(input_ids)
        for layer, block in enumerate(model.blocks):
            y = block(x, positions, None)
            sums[layer] += functional.cosine_similarity(x, y, dim=-1).sum()
            x = y
        num_tokens += input_ids.numel()
    torch.testing.assert_close(layer_influences(model, batches).float(), 1 - sums / num_tokens)


@pytest.mark.parametrize("name", ["smith", "gpt2"])
@torch.no_grad()
def test_units_that_add_nothing_go_first_and_nothing_changes(name: str) -> None:
    model, text = made(name), some_text()
    width = model.config.feedforward.width(model.config.dims)
    idle = torch.stack([torch.randperm(width, generator=torch.Generator().manual_seed(n))[:64] for n in range(4)])
    for block, units in zip(model.blocks, idle, strict=True):
        block.get_submodule("feedforward.output").get_parameter("weight")[:, units] = 0
    assert (unit_importances(model, [text]).gather(1, idle) == 0).all()
    small = PruneMethodSettings(feedforward=width - 64).compress(model, material(text))
    assert small.config.feedforward.hidden_dim == width - 64
    torch.testing.assert_close(small(text), model(text))


@torch.no_grad()
def test_a_quantized_model_is_pruned_as_it_is() -> None:
    model, text = made("smith"), some_text()
    for layer in (1, 2):
        for place, parameter in model.blocks[layer].named_parameters():
            if ".output." in place:
                parameter.zero_()
    model = quantize(model)
    small = PruneMethodSettings(num_layers=2, feedforward=128).compress(model, material(text))
    assert small.config.linear == model.config.linear
    # What is left of the halves are the units that add most.
    wide = PruneMethodSettings(num_layers=2).compress(model, material(text))
    assert torch.equal(wide(text), model(text))
    kept = largest(unit_importances(wide, [text]), 128)
    for block, whole, units in zip(small.blocks, wide.blocks, kept, strict=True):
        for name in ("gate.weight", "gate.scale", "input.weight"):
            assert torch.equal(block.feedforward.get_parameter(name), whole.feedforward.get_parameter(name)[units])
        output = "output.weight"
        assert torch.equal(block.feedforward.get_parameter(output), whole.feedforward.get_parameter(output)[:, units])


def test_adapters_are_merged_first() -> None:
    model = with_adapters(made("smith"), LoraLinearSettings(rank=2))
    with pytest.raises(UserError, match=r"has adapters: merge them first \(gptsmith merge RUN\)"):
        PruneMethodSettings(num_layers=1).require(model.config, cast(Material, None))


def test_the_largest_stay_in_their_order_and_of_equal_ones_the_first() -> None:
    numbers = torch.tensor([[3.0, 1.0, 2.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
    assert largest(numbers, 3).tolist() == [[0, 2, 3], [0, 1, 4]]


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("smith", {"num_layers": 4}, "--layers 4: this model has 4, so from 1 to 3 can stay"),
        ("smith", {"num_layers": 9}, "--layers 9: this model has 4, so from 1 to 3 can stay"),
        (
            "smith",
            {"feedforward": 100},
            r"--feedforward 100: this model's is 192 wide \(allowed: multiples of 64 up to 128",
        ),
        (
            "smith",
            {"feedforward": 192},
            r"--feedforward 192: this model's is 192 wide \(allowed: multiples of 64 up to 128",
        ),
        ("experts", {"feedforward": 64}, "feed-forward halves of the kind experts cannot be made narrower"),
    ],
)
def test_what_cannot_be_pruned_so_is_refused_before_any_text_is_read(
    name: str, settings: dict[str, int], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        PruneMethodSettings(**settings).require(made(name).config, cast(Material, None))
