"""Rounding that knows what a matrix is for: searched scales, GPTQ, and the moments of the inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Module

from gptsmith.base.errors import UserError
from gptsmith.compress import moments as compress_moments
from gptsmith.compress.gptq import gptq, gptq_model, ordered_root, searched
from gptsmith.compress.methods.prune import layer_influences, unit_importances
from gptsmith.compress.moments import input_moments, output_curvature
from gptsmith.compress.scales import searched_scales
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import FORMATS, Groups
from gptsmith.model.kernels.block_rounding import GRIDS, Grid, pack_groups, quantize_blocks
from gptsmith.model.linear import linear_layers
from gptsmith.model.presets import preset

SHAPE = {"num_layers": 2, "embed_dim": 64, "vocab_size": 40, "num_heads": 2, "head_dim": 32, "context_length": 16}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model() -> GPT:
    return GPT(preset("smith", **SHAPE, init="gpt2"), seed=1).eval()


@pytest.fixture(scope="module")
def windows() -> list[Tensor]:
    return list(torch.randint(40, (12, 16), generator=torch.Generator().manual_seed(2)).split(4))


def error(weight: Tensor, groups: Groups, moments: Tensor) -> float:
    """tr(dW H dW')."""
    gap = groups.weights().flatten(1) - weight
    return float((gap @ moments * gap).sum())


@pytest.mark.parametrize("name", GRIDS)
def test_searched_scales_are_better_than_the_nearest_where_it_counts(name: str) -> None:
    weight, importance = drawn(48, 96), drawn(96, seed=1).exp()
    form = FORMATS[name]
    found, moments = searched(weight, form, importance), torch.diag(importance)
    # What is packed is what was chosen, to the bit: scales are float16's already.
    assert torch.equal(form.weights(pack_groups(found, form)), found.weights().flatten(1))
    nearest = form.groups(quantize_blocks(weight, form))
    assert error(weight, found, moments) < (1.01 if name == "q8_0" else 0.95) * error(weight, nearest, moments)


@pytest.mark.parametrize("name", GRIDS)
def test_groups_without_a_scale_are_themselves(name: str) -> None:
    """Of zeros, of one number, and of numbers whose inverse is more than float32 can hold."""
    weight = torch.zeros(4, 32)
    weight[1], weight[2], weight[3] = 0.5, drawn(32) * 1e-41, 1e-38
    weight[2, :4] = 0
    for found in (searched(weight, FORMATS[name]), gptq(weight, torch.eye(32), FORMATS[name])):
        torch.testing.assert_close(found.weights().flatten(1), weight, rtol=0.01, atol=1e-7)


@pytest.mark.parametrize("name", GRIDS)
def test_gptq_without_correlations_only_searches(name: str) -> None:
    weight, form = drawn(8, 64), FORMATS[name]
    found, expected = gptq(weight, torch.eye(64), form), searched(weight, form)
    torch.testing.assert_close(found.weights(), expected.weights(), rtol=0, atol=0.03 if name == "q8_0" else 1e-6)
    assert torch.equal(pack_groups(gptq(weight, None, form), form), pack_groups(expected, form))


@pytest.mark.parametrize("name", GRIDS)
def test_gptq_leaves_a_matrix_of_the_grid_as_it_is(name: str) -> None:
    form, inputs = FORMATS[name], drawn(200, 64, seed=3)
    on_grid = form.weights(pack_groups(searched(drawn(16, 64), form), form))
    found = gptq(on_grid, inputs.T @ inputs, form).weights().flatten(1)
    torch.testing.assert_close(found, on_grid, rtol=0, atol=2e-3 * float(on_grid.abs().max()))


@pytest.mark.parametrize("name", ["q4_0", "q4_1", "q5_0", "q5_1"])
def test_gptq_errs_less_in_the_products_than_searching_does(name: str) -> None:
    form = FORMATS[name]
    inputs = drawn(300, 64, seed=5) @ (drawn(64, 64, seed=6) / 8 + torch.eye(64)) * drawn(64, seed=7).exp()
    weight, moments = drawn(32, 64, seed=8), inputs.T @ inputs
    found = error(weight, gptq(weight, moments, form), moments)
    assert found < 0.75 * error(weight, searched(weight, form, moments.diagonal()), moments)
    assert found < 0.6 * error(weight, form.groups(quantize_blocks(weight, form)), moments)


def test_dead_and_broken_inputs() -> None:
    form, weight = FORMATS["q4_0"], drawn(4, 64)
    assert torch.equal(
        pack_groups(gptq(weight, torch.zeros(64, 64), form), form), pack_groups(searched(weight, form), form)
    )
    with pytest.raises(UserError, match="not finite on the calibration text"):
        gptq(weight, torch.full((64, 64), torch.nan), form)
    with pytest.raises(UserError, match="a weight is not finite"):
        gptq(weight.index_fill(0, torch.tensor([1]), torch.inf), torch.eye(64), form)
    with pytest.raises(UserError, match="no whole blocks"):
        searched(drawn(4, 40), form)


def test_moments_are_those_of_what_each_layer_is_given(
    model: GPT, windows: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, list[Tensor]] = {}
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, x, place=place: given.setdefault(place, []).append(x[0].flatten(0, -2))
        )
        for place, layer in linear_layers(model).items()
    ]
    with torch.no_grad():
        for input_ids in windows:
            model(input_ids)
    for hook in hooks:
        hook.remove()
    monkeypatch.setattr(compress_moments, "PRODUCT_ROWS", 24)
    found = [list(each.items()) for each in input_moments(model, windows)]
    assert [len(each) for each in found] == [7, 7, 1]
    assert {place for each in found for place, _ in each} == set(given)
    for place, moments in (pair for each in found for pair in each):
        inputs = torch.cat(given[place])
        assert moments is not None
        torch.testing.assert_close(moments, inputs.T @ inputs, rtol=1e-4, atol=1e-4)


def test_the_curvature_of_a_model_that_knows_nothing(windows: list[Tensor]) -> None:
    """All tokens are as likely, so that whichever is drawn, the squared gradient of the logits is 1 - 1 / V in all; and
    what the head does not read does not matter."""
    blank = GPT(preset("smith", **SHAPE)).eval()
    torch.nn.init.zeros_(blank.head.matrix())
    found = output_curvature(blank, windows)
    assert float(found["head"].sum()) == pytest.approx(1 - 1 / 40, rel=1e-4)
    assert all(float(each.sum()) == 0 for place, each in found.items() if place != "head")
    assert set(found) == {*linear_layers(blank), "embedding"}


@torch.no_grad()
def test_a_model_is_rounded_in_the_formats_that_were_said(model: GPT, windows: list[Tensor]) -> None:
    forms = {"embedding": "q8_0", "blocks.1.feedforward.output": "q5_1", "blocks.0.attention.query": "q4_0"}
    made = gptq_model(model, forms, input_moments(model, windows))
    kept = {place: getattr(made.get_submodule(place), "form", None) for place in [*linear_layers(model), "embedding"]}
    assert {place: form.name for place, form in kept.items() if form is not None} == forms
    for place in forms:
        expected = model.get_submodule(place).matrix()
        gap = made.get_submodule(place).matrix() - expected
        assert 0 < float(gap.norm()) < 0.15 * float(expected.norm())


@torch.no_grad()
def test_matrices_of_the_same_inputs_are_rounded_as_each_alone(model: GPT, windows: list[Tensor]) -> None:
    forms = dict.fromkeys(linear_layers(model), "q4_1") | {"blocks.0.attention.key": "q5_0"}
    made = gptq_model(model, forms, input_moments(model, windows))
    found = {place: each for moments in input_moments(model, windows) for place, each in moments.items()}
    for place, form in forms.items():
        alone = pack_groups(gptq(linear_layers(model)[place].matrix(), found[place], FORMATS[form]), FORMATS[form])
        assert (made.get_submodule(place).weight == alone).float().mean() > 0.98  # sums may differ in their last bit


@pytest.mark.parametrize("name", GRIDS)
def test_gptq_is_its_plain_twin(name: str) -> None:
    weight, inputs, form = drawn(24, 96), drawn(300, 96, seed=5) * drawn(96, seed=7).exp(), FORMATS[name]
    moments = inputs.T @ inputs
    found, expected = gptq(weight, moments, form), _plain_gptq(weight, moments, GRIDS[name])
    gap = expected - weight
    assert error(weight, found, moments) == pytest.approx(float((gap @ moments * gap).sum()), rel=0.05)
    same = (found.weights().flatten(1) - expected).abs() < 1e-4 * expected.abs().max()
    assert same.float().mean() > 0.9  # a sum that lies in the middle goes either way


def _plain_gptq(weight: Tensor, moments: Tensor, grid: Grid) -> Tensor:
    """The rounded matrix: one column after the other, the error of each shared by all the others at once."""
    order, root = ordered_root(moments, 32)
    factor = root.inverse()
    left, made = weight.double()[:, order], torch.empty(weight.shape, dtype=torch.float64)
    for column in range(len(order)):
        if column % 32 == 0:
            group, own = left[:, column : column + 32], factor.diagonal()[column : column + 32]
            scale, offset = searched_scales(group.float(), own.square().reciprocal().float(), grid)
        wanted = left[:, column : column + 1]
        made[:, column : column + 1] = grid.nearest_integers(wanted.float(), scale, offset) * scale + offset
        error = (wanted - made[:, column : column + 1]) / factor[column, column]
        left[:, column + 1 :] -= error * factor[column, column + 1 :]
    return made[:, order.argsort()].float()


@pytest.mark.parametrize("watches", [input_moments, output_curvature, layer_influences, unit_importances])
def test_hooks_are_on_copies_because_others_may_use_the_model_meanwhile(
    watches: Callable[[GPT, list[Tensor]], object],
    model: GPT,
    windows: list[Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, watched = {id(module) for module in model.modules()}, []

    def watching(register: Callable[..., Any]) -> Callable[..., Any]:
        return lambda module, *given: (watched.append(id(module)), register(module, *given))[1]

    for name in ("register_forward_hook", "register_forward_pre_hook"):
        monkeypatch.setattr(Module, name, watching(getattr(Module, name)))
    found = watches(model, windows)
    _ = list(found) if isinstance(found, Iterator) else found
    assert watched
    assert not own & {*watched}
