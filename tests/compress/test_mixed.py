"""Formats by matrix under a budget of bytes."""

from __future__ import annotations

from functools import cached_property
from itertools import product
from typing import cast

import pytest
import torch
from torch import Tensor

from gptsmith.base.errors import ConfigurationError, UserError
from gptsmith.compress import material as compress_material
from gptsmith.compress.allocation import allocate, expected_costs
from gptsmith.compress.difference import difference
from gptsmith.compress.forms import in_forms
from gptsmith.compress.material import TRIAL_EVERY, Material, own_rows
from gptsmith.compress.methods.mixed import LEAST_BITS, MOST_BITS, MixedMethodSettings
from gptsmith.compress.methods.round import roundable
from gptsmith.compress.moments import input_moments
from gptsmith.convert.open import OpenedModel
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import FORMATS
from gptsmith.model.linear.grouped import packed_weights
from gptsmith.model.presets import preset
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.workflows.model_requests import CompressRequest

SHAPE = {"num_layers": 2, "embed_dim": 64, "vocab_size": 40, "num_heads": 2, "head_dim": 32, "context_length": 16}


class WithRows(Material):
    """Calibrates on ids that were drawn."""

    @cached_property
    def _rows(self) -> Tensor:
        return torch.randint(40, (18, 16), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def material() -> WithRows:
    return WithRows(cast(OpenedModel, None), GPT(preset("smith", **SHAPE, init="gpt2"), seed=1).eval())


def forms_of(model: GPT) -> list[str]:
    return [module.form.name for module in packed_weights(model).values()]


def num_bytes(model: GPT) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def test_the_most_bits_are_one_format_and_so_are_the_least(material: WithRows) -> None:
    for bits, name in ((8.5, "q8_0"), (4.5, "q4_0")):
        made = MixedMethodSettings(bits=bits).compress(material.original, material)
        assert set(forms_of(made)) == {name}
        assert [trial.name for trial in material.trials if trial.is_chosen][-1] == f"{name}, GPTQ"


def test_the_error_falls_as_the_bits_rise(material: WithRows) -> None:
    chosen = []
    for bits in (4.5, 5.25, 6.5, 8.5):
        made = MixedMethodSettings(bits=bits).compress(material.original, material)
        chosen.append(material.trials[-1])
        weights = sum(matrix.numel() for matrix in roundable(material.original).values())
        norms = num_bytes(material.original) - 4 * weights
        assert 0.97 * bits / 8 * weights < num_bytes(made) - norms <= bits / 8 * weights
        assert chosen[-1].weight_bytes == num_bytes(made)
    assert all(trial.is_chosen for trial in chosen)
    costs = [trial.kl_divergence for trial in chosen]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.02 * costs[0]


def test_a_budget_of_bytes_is_kept_and_the_least_is_said(material: WithRows) -> None:
    least = num_bytes(MixedMethodSettings(bits=4.5).compress(material.original, material))
    made = MixedMethodSettings(num_bytes=least + 3000).compress(material.original, material)
    assert least < num_bytes(made) <= least + 3000
    with pytest.raises(UserError, match=f"the least possible is {least} "):
        MixedMethodSettings(num_bytes=least - 1).compress(material.original, material)
    for bits in (3, 16, float("nan")):
        with pytest.raises(ConfigurationError, match="bits"):
            MixedMethodSettings.parse({"bits": bits})


def test_bounds_of_bits_are_those_of_the_formats() -> None:
    """The request says them without the formats, which PyTorch comes with."""
    assert (LEAST_BITS, MOST_BITS) == (4.5, 8.5)
    for bits in (LEAST_BITS, MOST_BITS):
        assert CompressRequest(run="x", bits=bits).bits == bits
        with pytest.raises(ConfigurationError, match=rf"bits: must be at (least|most) {bits}"):
            CompressRequest.parse({"run": "x", "bits": bits + (0.1 if bits == MOST_BITS else -0.1)})


def test_bytes_go_where_they_save_most() -> None:
    sizes = {"one": 64, "two": 320, "three": 3200}
    costs = {
        place: {name: share * 4.0**-form.bits for name, form in FORMATS.items() if form.block_size == 32}
        for place, share in (("one", 1.0), ("two", 100.0), ("three", 1.0))
    }
    for room in range(2016, 3900, 150):
        found = allocate(costs, sizes, room)
        used, cost = _used(found, sizes), sum(costs[place][form] for place, form in found.items())
        assert used <= room
        others = (dict(zip(sizes, forms, strict=True)) for forms in product(costs["one"], repeat=3))
        least = min(sum(costs[p][f] for p, f in each.items()) for each in others if _used(each, sizes) <= room)
        assert cost <= 1.3 * least


def _used(forms: dict[str, str], sizes: dict[str, int]) -> int:
    return sum(FORMATS[form].row_bytes(sizes[place]) for place, form in forms.items())


def test_what_is_expected_is_about_what_it_costs(material: WithRows) -> None:
    """The divergence that all matrices together are expected to add, against that which they do."""
    model = material.original
    matrices = roundable(model)
    windows = material.calibration_windows()
    costs = expected_costs(model, matrices, windows, input_moments(model, windows))
    assert set(costs) == set(matrices)
    for name, bits in (("q4_0", 4.5), ("q8_0", 8.5)):
        real = material.trials
        MixedMethodSettings(bits=bits).compress(model, material)
        expected = sum(each[name] for each in costs.values())
        assert 0.3 < expected / real[-1].kl_divergence < 3


def test_trials_share_one_pass_of_the_original_and_cost_what_they_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    model = GPT(preset("smith", **SHAPE, init="gpt2"), seed=1).eval()
    given, passes = WithRows(cast(OpenedModel, None), model), []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda *given: passes.append(1) or hidden(*given))
    made = [in_forms(model, dict.fromkeys(roundable(model), name)) for name in ("q4_0", "q5_1")]
    costs = [given.try_out("one", each).kl_divergence for each in made]
    assert len(passes) == 1
    windows = [(ids, torch.ones_like(ids, dtype=torch.bool)) for ids in given._rows[::TRIAL_EVERY].split(1)]
    assert costs == pytest.approx([difference(model, each, windows).kl_divergence for each in made], rel=1e-4)


def test_no_more_texts_are_written_than_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are the same however many are written at once."""
    seeds: list[int] = []
    engines: set[str] = set()

    def write(_: GPT, __: object, *, num_texts: int, max_tokens: int, first_seed: int, engine: str) -> list[list[int]]:
        engines.add(engine)
        seeds.extend(range(first_seed, first_seed + num_texts))
        return [[seed] * min(max_tokens, 2 + 7 * seed % 20) for seed in seeds[-num_texts:]]

    monkeypatch.setattr(compress_material, "own_texts", write)
    model = GPT(preset("smith", **SHAPE))
    rows = own_rows(model, cast(Tokenizer, None), 160)
    assert rows.shape == (10, 16)
    assert engines == {"torch"}
    assert seeds == [*range(len(seeds))]
    whole = [seed for seed in seeds for _ in range(min(16, 2 + 7 * seed % 20))]
    assert rows.flatten().tolist() == whole[:160]
    assert len(whole) < 1.4 * 160
    monkeypatch.setattr(compress_material, "own_texts", lambda *_, num_texts, **__: [[1]] * num_texts)
    assert own_rows(model, cast(Tokenizer, None), 160).shape == (5, 16)


def test_a_text_of_one_row_is_enough_and_a_width_that_no_block_fits_stays() -> None:
    class WithOneRow(WithRows):
        @cached_property
        def _rows(self) -> Tensor:
            return super()._rows[:1]

    odd = {**SHAPE, "embed_dim": 48, "feedforward": {"kind": "gated", "hidden_dim": 64}, "init": "gpt2"}
    model = GPT(preset("smith", **odd), seed=1).eval()
    made = MixedMethodSettings(bits=6).compress(model, WithOneRow(cast(OpenedModel, None), model))
    assert {name.partition(".weight")[0][9:] for name in packed_weights(made)} == {
        "attention.output",
        "feedforward.output",
    }


def test_a_model_whose_predictions_are_not_finite_is_refused() -> None:
    broken = GPT(preset("smith", **SHAPE, init="gpt2"), seed=1).eval()
    torch.nn.init.constant_(broken.final_norm.weight, torch.inf)
    with pytest.raises(UserError, match="not finite on the calibration text"):
        MixedMethodSettings(bits=5).compress(broken, WithRows(cast(OpenedModel, None), broken))
