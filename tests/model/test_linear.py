"""Rounded maps, adapters, and models made of other models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from gptsmith.base.errors import UserError
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels import int8_weights
from gptsmith.model.kernels.dense_matmul import product_by_threads
from gptsmith.model.kernels.int8_weights import dequantized_linear, int8_linear, quantize_per_row
from gptsmith.model.linear import linear_layers
from gptsmith.model.linear.dense import DenseLinear, DenseLinearSettings
from gptsmith.model.linear.int8 import Int8Linear, use_int8_matmul
from gptsmith.model.linear.lora import LoraLinear, LoraLinearSettings
from gptsmith.model.transform import initialize_from, merge_lora, quantize, with_adapters
from gptsmith.run.checkpoint import Checkpoint, publish_checkpoint
from gptsmith.run.contents import CheckpointContents, load_model, weights
from gptsmith.run.train_state import TrainState

MAPS = [
    "attention.key", "attention.output", "attention.query", "attention.value",
    "feedforward.gate", "feedforward.input", "feedforward.output",
]  # fmt: skip
EVERYWHERE = ["attention.*", "feedforward.*", "head"]


def config(**changes: object) -> GPTConfig:
    table = {
        "vocab_size": 50, "context_length": 24, "embed_dim": 32, "num_layers": 2, "num_heads": 4,
        "attention": {"kind": "full", "num_kv_heads": 2, "bias": True}, **changes,
    }  # fmt: skip
    return GPTConfig.parse(table)


def shaken(model: GPT, seed: int = 7) -> GPT:
    """The model with noise on all of its floats, so that no output map and no B is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dtype != torch.int8:
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.2)
    return model


def plain(**changes: object) -> GPT:
    return shaken(GPT(config(**changes)).double().eval())


def adapted(model: GPT, **settings: object) -> GPT:
    """The model with adapters that change something."""
    made = with_adapters(model, LoraLinearSettings.parse({"rank": 3, **settings}))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("lora_b"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return made


def logits(model: GPT) -> Tensor:
    ids = torch.randint(50, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids)


def equal(ours: Tensor, theirs: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


class TestQuantize:
    def test_the_largest_of_a_row_becomes_127(self) -> None:
        values, scale = quantize_per_row(torch.tensor([[2.54, -1.0, 0.02], [0.0, 0.0, 0.0], [0.0, 0.5, -1.0]]))
        assert values.tolist() == [[127, -50, 1], [0, 0, 0], [0, 64, -127]]
        assert values.dtype == torch.int8
        assert scale.dtype == torch.float32
        assert scale.tolist() == pytest.approx([0.02, 0.0, 1 / 127])

    @given(
        st.lists(st.lists(st.floats(-1e38, 1e38), min_size=3, max_size=3), min_size=1, max_size=4),
        st.sampled_from([torch.float32, torch.float64]),
    )
    @example([[2.1e-43, 0.0, 0.0], [1e-45, 0.0, 0.0]], torch.float32)  # where a scale has a bit or none
    def test_nothing_moves_by_more_than_half_a_scale(self, rows: list[list[float]], dtype: torch.dtype) -> None:
        weight = torch.tensor(rows, dtype=torch.float64).to(dtype)
        values, scale = quantize_per_row(weight)
        moved = (values.double() * scale.double()[:, None] - weight.double()).abs()
        assert (moved <= 0.5001 * scale.double()[:, None] + 128 * torch.finfo(torch.float32).tiny).all()
        assert (values * weight.sign() >= 0).all()
        assert not values[scale == 0].any()
        negated, same = quantize_per_row(-weight)
        assert torch.equal(negated, -values)
        assert torch.equal(same, scale)

    @pytest.mark.parametrize("sick", [float("inf"), float("-inf"), float("nan"), 1e300])
    def test_what_is_not_finite_is_refused_with_its_row(self, sick: float) -> None:
        weight = torch.ones(3, 4, dtype=torch.float64)
        weight[1, 2] = sick
        with pytest.raises(UserError, match="row 1 has a weight that is not a finite float32"):
            quantize_per_row(weight)
        model = plain()
        with torch.no_grad():
            model.blocks[1].feedforward.gate.weight[5, 0] = sick
        with pytest.raises(UserError, match=r"blocks\.1\.feedforward\.gate: row 5"):
            quantize(model)


class TestInt8Product:
    @pytest.mark.parametrize("num_rows", [1, 3, 8, 9, 40])
    @pytest.mark.parametrize("in_dim", [32, 40, 96])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
    def test_it_is_that_of_the_plain_twin(
        self, num_rows: int, in_dim: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(int8_weights, "BLOCK_ELEMENTS", 7 * in_dim)
        generator = torch.Generator().manual_seed(0)
        weight, scale = quantize_per_row(torch.randn(20, in_dim, generator=generator))
        x = torch.randn(2, num_rows, in_dim, generator=generator, dtype=torch.float64)
        golden = dequantized_linear(x, weight, scale.double())
        product = int8_linear(x.to(dtype), weight, scale)
        assert product.dtype == dtype
        # bfloat16 keeps eight bits of x, of the product and of what it is scaled to.
        tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.012}[dtype]
        assert (product.double() - golden).abs().max() < tolerance * golden.abs().max()

    @pytest.mark.skipif(not hasattr(torch.ops.aten, "_weight_int8pack_mm"), reason="this PyTorch has no such product")
    def test_pytorchs_own_is_asked_only_for_what_it_can(self) -> None:
        """It reads past the end of rows that are no multiple of its block."""
        weight = torch.ones(4, 64, dtype=torch.int8)
        few = torch.ones(2, 4, 64, dtype=torch.bfloat16)
        assert int8_weights._has_kernel(few, weight)
        assert not int8_weights._has_kernel(few.float(), weight)
        assert not int8_weights._has_kernel(torch.ones(9, 64, dtype=torch.bfloat16), weight)
        assert not int8_weights._has_kernel(few[:0], weight)
        assert not int8_weights._has_kernel(few[..., :40], weight[:, :40])
        assert int8_linear(few[:0], weight, torch.ones(4)).shape == (0, 4, 4)

    def test_the_gradient_is_that_of_the_plain_twin_and_keeps_int8_only(self) -> None:
        generator = torch.Generator().manual_seed(0)
        weight, scale = quantize_per_row(torch.randn(6, 10, generator=generator))
        scale = scale.double()
        x = torch.randn(3, 5, 10, generator=generator, dtype=torch.float64, requires_grad=True)
        upstream = torch.randn(3, 5, 6, generator=generator, dtype=torch.float64)
        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            ours = int8_linear(x, weight, scale)
        assert {(tuple(t.shape), t.dtype) for t in kept} == {((6, 10), torch.int8), ((6,), torch.float64)}
        theirs = dequantized_linear(x, weight, scale)
        equal(ours, theirs, 1e-12)
        equal(torch.autograd.grad(ours, x, upstream)[0], torch.autograd.grad(theirs, x, upstream)[0], 1e-12)

    def test_a_map_of_bfloat16_takes_its_gradient_too(self) -> None:
        """A few rows: the fast product has no gradient of its own."""
        module = Int8Linear(32, 8, bias=True)
        with torch.no_grad():
            module.load_dense_weight(torch.randn(8, 32, generator=torch.Generator().manual_seed(0)))
            module.bias.fill_(1.0)
        x = torch.ones(2, 32, dtype=torch.bfloat16, requires_grad=True)
        module(x).sum().backward()
        expected = module.matrix().sum(dim=0).expand(2, 32)
        equal(x.grad.float(), expected, 0.02 * float(expected.abs().max()))
        assert module.bias.grad.tolist() == [2.0] * 8
        assert module.weight.grad is None


class TestAMapKnowsItsName:
    def test_a_name_is_the_place_in_a_block(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []
        build = DenseLinearSettings.build

        def recorded(self: DenseLinearSettings, in_dim: int, out_dim: int, bias: bool, name: str) -> DenseLinear:
            asked.append(name)
            return build(self, in_dim, out_dim, bias, name)

        monkeypatch.setattr(DenseLinearSettings, "build", recorded)
        model = GPT(config())
        assert [re.sub(r"^blocks\.\d+\.", "", place) for place in linear_layers(model)] == asked
        assert set(asked) == {*MAPS, "head"}

    def test_a_map_in_a_map_is_not_named(self) -> None:
        assert list(linear_layers(GPT(config(linear="lora")))) == list(linear_layers(GPT(config())))


class TestInt8:
    def test_a_fresh_one_is_a_fresh_plain_one_rounded(self) -> None:
        ours, theirs = GPT(config(linear="int8"), seed=3), quantize(GPT(config(), seed=3))
        assert ours.config == theirs.config
        for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert torch.equal(own, other), name

    @pytest.mark.parametrize("tied", [True, False])
    def test_it_computes_nearly_the_same(self, tied: bool) -> None:
        model = plain(tie_embeddings=tied)
        before, after = logits(model), logits(quantize(model))
        assert 1e-5 < (after - before).abs().max() < 0.05 * before.abs().max()

    def test_quantize_leaves_all_but_the_layers_of_the_blocks(self) -> None:
        names = {name: parameter.dtype for name, parameter in quantize(plain()).named_parameters()}
        whole = {name for name, dtype in names.items() if dtype == torch.int8}
        assert whole == {f"blocks.{layer}.{name}.weight" for layer in range(2) for name in MAPS}
        assert {f"{name.removesuffix('weight')}scale" for name in whole} < names.keys()

    def test_a_few_tokens_of_bfloat16_are_read_as_many_are(self) -> None:
        model = quantize(plain().float())
        model.compute_dtype = torch.bfloat16
        ids = torch.arange(20)[None]
        with torch.no_grad():
            many, few = model(ids)[:, :4].float(), model(ids[:, :4]).float()
        assert (many - few).abs().max() < 0.03 * many.abs().max()


class TestLora:
    def test_it_is_equation_3(self) -> None:
        settings = LoraLinearSettings.parse({"rank": 2, "alpha": 6.0, "targets": ["attention.query"]})
        module = settings.build(5, 4, True, "attention.query").double()
        assert isinstance(module, LoraLinear)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        x = torch.randn(3, 5, generator=generator, dtype=torch.float64)
        base = x @ module.base.weight.T + module.base.bias
        equal(module(x), base + 6.0 / 2 * (x @ module.lora_a.T @ module.lora_b.T))
        equal(module.matrix(), module.base.weight + 3.0 * module.lora_b @ module.lora_a)

    def test_a_fresh_one_has_the_weights_of_a_plain_one(self) -> None:
        ours, theirs = GPT(config(linear="lora"), seed=3), GPT(config(), seed=3)
        plain_names = {name.replace(".base.", "."): parameter for name, parameter in ours.named_parameters()}
        assert all(torch.equal(plain_names[name], parameter) for name, parameter in theirs.named_parameters())
        a = ours.blocks[0].feedforward.output.lora_a
        assert a.shape == (8, 128)
        assert 0.95 * 128**-0.5 < a.abs().max() <= 128**-0.5
        assert a.std().item() == pytest.approx((3 * 128) ** -0.5, rel=0.1)
        assert not torch.equal(a, GPT(config(linear="lora"), seed=4).blocks[0].feedforward.output.lora_a)

    def test_names_are_those_of_a_plain_model_with_a_base_and_two_matrices(self) -> None:
        made = with_adapters(plain(), LoraLinearSettings(targets=["attention.query"]))
        names = {name for name, _ in made.named_parameters() if ".attention.query" in name and "blocks.0" in name}
        place = "blocks.0.attention.query"
        assert names == {f"{place}.base.weight", f"{place}.base.bias", f"{place}.lora_a", f"{place}.lora_b"}
        assert "blocks.0.attention.key.weight" in dict(made.named_parameters())

    @pytest.mark.parametrize(
        ("targets", "adapted_maps"),
        [
            (None, MAPS),
            (["attention.*"], MAPS[:4]),
            (["*"], MAPS),
            (["*.output", "head"], ["attention.output", "feedforward.output", "head"]),
        ],
    )
    def test_targets_are_names_and_patterns_and_the_head_only_by_name(
        self, targets: list[str] | None, adapted_maps: list[str]
    ) -> None:
        table = {"kind": "lora", **({"targets": targets} if targets else {})}
        maps = linear_layers(GPT(config(linear=table)))
        found = {re.sub(r"^blocks\.\d+\.", "", place) for place, m in maps.items() if isinstance(m, LoraLinear)}
        assert sorted(found) == adapted_maps

    @pytest.mark.parametrize("target", ["attention.qery", "score_head", "h*", "embedding"])
    def test_a_target_that_names_nothing_is_refused_with_the_names(self, target: str) -> None:
        with pytest.raises(UserError, match=rf"{re.escape(target)} is no linear layer .*{', '.join(MAPS)}, head"):
            GPT(config(linear={"kind": "lora", "targets": ["attention.*", target]}, num_labels=2))

    @pytest.mark.parametrize("base", ["lora", {"kind": "lora"}, LoraLinearSettings()])
    def test_adapters_over_adapters_are_refused(self, base: object) -> None:
        with pytest.raises(UserError, match="cannot have adapters itself: merge them first"):
            LoraLinearSettings.parse({"base": base})

    @pytest.mark.parametrize("bad", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}, {"targets": []}, {"base": "int9"}])
    def test_settings_that_mean_nothing_are_refused(self, bad: dict[str, object]) -> None:
        with pytest.raises(UserError, match=next(iter(bad))):
            LoraLinearSettings.parse(bad)

    def test_dropout_drops_from_the_adapter_in_training_only(self) -> None:
        model = adapted(plain(), dropout=0.5, targets=["attention.value"])
        assert torch.equal(logits(model), logits(model))
        model.train()
        assert not torch.equal(logits(model), logits(model))
        with torch.no_grad():
            for block in model.blocks:
                block.attention.value.lora_b.zero_()
        assert torch.equal(logits(model), logits(model))

    def test_the_head_drops_nothing_because_its_loss_is_computed_from_its_matrix(self) -> None:
        model = adapted(plain(), dropout=0.5, targets=["head"]).train()
        hidden = torch.randn(3, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        equal(model.head(hidden), hidden @ model.head_weight.T)

    @pytest.mark.parametrize("base", ["dense", "int8"])
    @pytest.mark.parametrize("tied", [True, False])
    def test_only_adapters_are_trained(self, base: str, tied: bool) -> None:
        model = plain(tie_embeddings=tied, position={"kind": "learned"})
        model = adapted(quantize(model) if base == "int8" else model, targets=EVERYWHERE)
        (model(torch.arange(20)[None]).square().mean() + model.head_weight.square().sum()).backward()
        assert {n for n, p in model.named_parameters() if p.requires_grad} == {
            n for n, p in model.named_parameters() if n.endswith((".lora_a", ".lora_b"))
        }
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad.abs().sum() > 0, name
            else:
                assert parameter.grad is None, name

    def test_a_score_head_is_trained_beside_them(self) -> None:
        model = GPT(config(linear="lora", num_labels=3))
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert {name for name in trained if "lora" not in name} == {"score_head.weight", "score_head.bias"}

    def test_gradients_through_int8_are_those_through_the_plain_twin(self) -> None:
        whole = quantize(plain())
        twin = GPT(config()).double().eval()
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                place, _, part = name.rpartition(".")
                source = (
                    linear_layers(whole)[place].matrix() if part == "weight" and place in linear_layers(whole) else None
                )
                parameter.copy_(dict(whole.named_parameters())[name] if source is None else source)
        pair = [adapted(model) for model in (whole, twin)]
        for model in pair:
            model(torch.arange(20)[None]).square().mean().backward()
        compared = 0
        for ours, theirs in zip(*(linear_layers(model).values() for model in pair), strict=True):
            if isinstance(ours, LoraLinear):
                equal(ours.lora_a.grad, theirs.lora_a.grad, 1e-9)
                equal(ours.lora_b.grad, theirs.lora_b.grad, 1e-9)
                compared += 1
        assert compared == 14


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("base", ["dense", "int8"])
class TestSurgery:
    def made(self, base: str, tied: bool) -> GPT:
        model = plain(tie_embeddings=tied, num_labels=2)
        return quantize(model) if base == "int8" else model

    def test_adapters_change_nothing_at_first(self, base: str, tied: bool) -> None:
        model = self.made(base, tied)
        made = with_adapters(model, LoraLinearSettings(targets=EVERYWHERE))
        assert torch.equal(logits(made), logits(model))
        assert made.config.linear.base == model.config.linear
        begun = initialize_from(model, made.config, seed=5).double().eval()
        equal(logits(begun), logits(model), 1e-5)

    @pytest.mark.parametrize("targets", [["attention.*", "feedforward.gate"], EVERYWHERE])
    def test_merged_computes_what_the_adapters_did(self, base: str, tied: bool, targets: list[str]) -> None:
        model = self.made(base, tied)
        with_change = adapted(model, targets=targets)
        one = merge_lora(with_change)
        assert (logits(with_change) - logits(model)).abs().max() > 0.1
        equal(logits(one), logits(with_change))
        assert one.config == model.config.model_copy(
            update={"linear": DenseLinearSettings(), "tie_embeddings": tied and "head" not in targets}
        )
        assert torch.equal(one.score_head.weight, model.score_head.weight)
        assert all(parameter.requires_grad for parameter in one.parameters())

    def test_the_given_model_stays_as_it_is_and_the_new_one_is_like_it(self, base: str, tied: bool) -> None:
        model = self.made(base, tied).train()
        model.compute_dtype = torch.float64
        before = {name: parameter.clone() for name, parameter in model.named_parameters()}
        made = shaken(adapted(model), seed=2)
        shaken(merge_lora(made), seed=3)
        assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
        for new in (made, merge_lora(made)):
            assert (new.training, new.compute_dtype, new.embedding.weight.dtype) == (True, *[torch.float64] * 2)
            assert (new.head_weight is new.embedding.weight) == tied

    def test_a_checkpoint_rebuilds_it(self, base: str, tied: bool, tmp_path: Path) -> None:
        model = self.made(base, tied).float()
        with_change = adapted(model, targets=EVERYWHERE)
        for step, one in enumerate([model, with_change, merge_lora(with_change)]):
            again = load_model(saved(one, tmp_path, step))
            assert again.config == one.config
            assert torch.equal(logits(again), logits(one))
            assert [(n, p.requires_grad, p.dtype) for n, p in again.named_parameters()] == [
                (n, p.requires_grad, p.dtype) for n, p in one.named_parameters()
            ]


def saved(model: GPT, folder: Path, step: int = 1) -> Checkpoint:
    return publish_checkpoint(
        folder, step, CheckpointContents(model.config, weights(model), {}, {}, TrainState()).write
    )


def test_floats_are_not_read_as_whole_numbers(tmp_path: Path) -> None:
    model = quantize(plain().float())
    for layer in model.blocks:
        layer.attention.key.weight = nn.Parameter(layer.attention.key.weight.float())
    with pytest.raises(UserError, match=r"blocks\.0\.attention\.key\.weight is float32, and its config asks for int8"):
        load_model(saved(model, tmp_path))


def test_what_cannot_be_made_is_refused() -> None:
    model = plain()
    with pytest.raises(UserError, match="no adapters to merge: its linear layers are dense"):
        merge_lora(model)
    with pytest.raises(UserError, match="those of this model are int8 already"):
        quantize(quantize(model))
    for change in (quantize, lambda adapted: with_adapters(adapted, LoraLinearSettings())):
        with pytest.raises(UserError, match=r"has adapters.*merge them first \(gptsmith merge RUN\)"):
            change(with_adapters(model, LoraLinearSettings()))
    with pytest.raises(UserError, match=r"linear\.base=int8, and the linear layers of this model are dense"):
        with_adapters(model, LoraLinearSettings.parse({"base": "int8"}))


@pytest.mark.parametrize("linear", ["dense", "lora"])
def test_a_model_that_would_lose_its_rounded_weights_is_not_begun(linear: str) -> None:
    with pytest.raises(UserError, match=f"model.linear={linear}.*, but the linear layers it begins with are int8"):
        initialize_from(quantize(plain()), config(linear=linear), seed=0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "linear", ["dense", "int8", {"kind": "lora", "targets": EVERYWHERE}, {"kind": "lora", "base": "int8"}]
)
def test_cost_is_that_of_the_parameters(linear: object, tied: bool) -> None:
    shape = config(linear=linear, tie_embeddings=tied)
    model, known = GPT(shape), cost(shape)
    parameters = list(model.parameters())
    assert known.num_parameters == sum(p.numel() for p in parameters)
    assert known.num_trained_parameters == sum(p.numel() for p in parameters if p.requires_grad)
    assert known.weight_bytes == sum(p.numel() * p.element_size() for p in parameters)
    assert known.activation_bytes_per_token == cost(config(tie_embeddings=tied)).activation_bytes_per_token
    through = sum(m.matrix().numel() for m in linear_layers(model).values())
    adapters = sum(p.numel() for n, p in model.named_parameters() if "lora" in n)
    assert known.num_matrix_parameters == through + adapters


def test_training_adapters_costs_two_thirds_and_their_own() -> None:
    full, with_lora = cost(config()), cost(config(linear="lora"))
    adapters = with_lora.num_trained_parameters
    saved_flops = 2 * full.num_matrix_parameters - 6 * adapters
    assert full.training_flops_per_token - with_lora.training_flops_per_token == saved_flops


def test_with_int8_matmul_no_row_depends_on_the_others_and_logits_stay_near() -> None:
    # In float64: a float32 whose last bit depends on the batch may be quantized to another integer.
    model = quantize(shaken(GPT(config(feedforward="gated"))).double())
    ids = torch.randint(50, (6, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact = model(ids)
        use_int8_matmul(model)
        found = model(ids)
        alone = torch.cat([model(row[None]) for row in ids])
    torch.testing.assert_close(found, alone, rtol=0, atol=2e-6)
    spread = float(exact.std())
    assert 0 < float((found - exact).abs().mean()) < 0.05 * spread
    assert not any(isinstance(module, Int8Linear) for module in model.modules())


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this processor has no oneDNN")
@pytest.mark.parametrize("num_rows", [1, 2, 16, 70])
@pytest.mark.parametrize("out_dim", [2048, 2049])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_by_all_threads_is_its_plain_twin(num_rows: int, out_dim: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    linear = DenseLinear(512, out_dim, bias=bias)
    x = torch.randn(1, num_rows, 512, generator=generator)
    twin = torch.nn.functional.linear(x, linear.weight, linear.bias)
    with torch.no_grad():
        found = product_by_threads(x, linear.weight, linear.bias)
        torch.testing.assert_close(linear(x), twin, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, twin, rtol=1e-5, atol=1e-5)


def test_only_large_products_of_float32_without_gradients_are_by_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        calls.append(len(weight))
        return torch.nn.functional.linear(x, weight, bias)

    monkeypatch.setattr("gptsmith.model.kernels.dense_matmul.product_by_threads", counted)
    large, small = DenseLinear(512, 2048), DenseLinear(32, 32)
    large(torch.zeros(1, 512))
    with torch.no_grad():
        small(torch.zeros(1, 32))
        large.double()(torch.zeros(1, 512, dtype=torch.float64))
        assert not calls
        large.float()(torch.zeros(1, 512))
    assert calls == ([2048] if torch.backends.mkldnn.is_available() else [])


def test_bfloat16_weights_are_widened_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptsmith.model.kernels.dense_matmul.WIDENED_ELEMENTS", 40)
    linear, x = DenseLinear(16, 9).bfloat16(), torch.randn(3, 16, generator=torch.Generator().manual_seed(2))
    expected = x @ linear.weight.float().T + linear.bias.float()
    widened: list[int] = []
    original = Tensor.to

    def counted(self: Tensor, *args: Any) -> Tensor:
        widened.append(self.numel())
        return original(self, *args)

    monkeypatch.setattr(Tensor, "to", counted)
    with torch.no_grad():
        equal(linear(x), expected, 1e-6)
    assert max(widened) <= 40
    linear(x).sum().backward()  # with gradients at once, in the weight's own dtype
    assert linear.weight.grad is not None


def test_logits_of_hidden_states_in_bfloat16_are_float32() -> None:
    model = GPT(config()).bfloat16().eval()
    ids = torch.randint(50, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = model.hidden(ids)
        found = model(ids)
    assert (hidden.dtype, found.dtype) == (torch.bfloat16, torch.float32)
    equal(found, hidden.float() @ model.head_weight.float().T, 1e-6)
