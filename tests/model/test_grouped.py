"""Weights in GGUF's block formats: the bytes are the library's, and a product is that of the dequantized matrix."""

from __future__ import annotations

from typing import Any, ClassVar

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.generate.inference_model import inference_model
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels import grouped_matmul
from gptsmith.model.kernels.block_formats import FORMATS
from gptsmith.model.kernels.block_rounding import GRIDS, NEAREST, quantize_blocks
from gptsmith.model.kernels.cross_entropy import linear_cross_entropy
from gptsmith.model.kernels.grouped_matmul import (
    GroupedMatmul,
    ShortlistMatmul,
    grouped_linear,
    processor_has_kernel,
)
from gptsmith.model.linear import fused_projections
from gptsmith.model.linear.grouped import GroupedEmbedding, GroupedLinear
from gptsmith.model.linear.lora import LoraLinearSettings
from gptsmith.model.packed_linear import PackedLinear
from gptsmith.model.transform import dequantize, merge_lora, with_adapters, without_adapters

EVERYWHERE = ["attention.*", "feedforward.*"]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some_blocks(name: str, num_rows: int, num_weights: int, seed: int = 0) -> Tensor:
    """Random integers, under scales of a usual size."""
    form = FORMATS[name]
    if name in GRIDS:
        return quantize_blocks(drawn(num_rows, num_weights, seed=seed), form)
    blocks = np.random.default_rng(seed).integers(0, 256, (num_rows, form.row_bytes(num_weights)), np.uint8)
    numbers = blocks.reshape(-1, form.block_bytes)
    places = (208,) if name == "q6_k" else (0, 2)
    for place in places:
        numbers[:, place : place + 2] = np.array([0.001 * (1 + place)], np.float16).view(np.uint8)
    return torch.from_numpy(blocks)


@pytest.mark.parametrize("name", GRIDS)
def test_the_nearest_are_near_under_the_scales_and_offsets_that_come_with_them(name: str) -> None:
    blocks = drawn(50, 32)
    integers, scale, offset = NEAREST[name](blocks)
    assert torch.equal(GRIDS[name].offset(scale, offset), offset)
    # The end of the range that the largest does not lie at may be half an integer short, or one.
    assert ((integers * scale + offset - blocks).abs() <= 1.001 * scale.abs()).all()


def model_of(**changes: Any) -> GPT:
    table = {
        "vocab_size": 50, "context_length": 24, "embed_dim": 32, "num_layers": 2, "num_heads": 4,
        "attention": {"kind": "full", "bias": True}, "feedforward": {"hidden_dim": 64}, "init": "gpt2", **changes,
    }  # fmt: skip
    return GPT(GPTConfig.parse(table), seed=3).eval()


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_are_dequantized_as_the_library_does(name: str) -> None:
    form, kind = FORMATS[name], gguf.GGMLQuantizationType[name.upper()]
    assert gguf.GGML_QUANT_SIZES[kind] == (form.block_size, form.block_bytes)
    packed = np.random.default_rng(1).integers(0, 256, (4, 3 * form.block_bytes), np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.dequantize(packed, kind)
    finite = np.isfinite(expected)
    assert finite.mean() > 0.5
    assert np.array_equal(form.weights(torch.from_numpy(packed)).numpy()[finite], expected[finite])


@pytest.mark.parametrize("name", GRIDS)
def test_weights_are_rounded_to_the_bytes_of_the_library(name: str) -> None:
    weight = drawn(24, 96) * drawn(24, 1, seed=1).exp()
    weight[0], weight[1, 32:64], weight[2], weight[3] = 0, 0, weight[2].abs(), weight[3] * 1e-9
    expected = gguf.quantize(weight.numpy(), gguf.GGMLQuantizationType[name.upper()])
    packed = quantize_blocks(weight, FORMATS[name])
    assert np.array_equal(packed.numpy(), expected)
    assert packed.shape[1] == FORMATS[name].row_bytes(96)
    assert FORMATS[name].num_weights(packed.numel()) == weight.numel()


def test_what_cannot_be_rounded_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be rounded to q6_k"):
        quantize_blocks(drawn(2, 256), FORMATS["q6_k"])
    with pytest.raises(UserError, match="rows of 40 are no whole blocks of 32"):
        quantize_blocks(drawn(2, 40), FORMATS["q4_0"])
    for bad in (float("nan"), float("inf"), 1e5):
        weight = drawn(2, 32)
        weight[1, 3] = bad
        with pytest.raises(UserError, match="not finite, or larger"):
            quantize_blocks(weight, FORMATS["q4_1"])


@pytest.mark.parametrize("name", FORMATS)
def test_a_product_is_that_of_the_dequantized_matrix(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, x = some_blocks(name, 48, 256), drawn(2, 3, 256, seed=2).requires_grad_()
    matrix = FORMATS[name].weights(packed)
    (expected,) = torch.autograd.grad((x @ matrix.T).square().sum(), x)
    for at_once in (1 << 19, 256 * 20):  # in one block, and in several of which the last is shorter
        monkeypatch.setattr(grouped_matmul, "BLOCK_ELEMENTS", at_once)
        y = grouped_linear(x, packed, FORMATS[name])
        torch.testing.assert_close(y, x @ matrix.T, rtol=1e-4, atol=1e-4)
        (found,) = torch.autograd.grad(y.square().sum(), x)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("out_dim", [48, 49])  # GPT-2's vocabulary is one more than a multiple of 16, too
@pytest.mark.parametrize("name", FORMATS)
def test_few_inputs_are_rounded_and_many_are_not(name: str, out_dim: int) -> None:
    packed, bias = some_blocks(name, out_dim, 256), drawn(out_dim, seed=5)
    product = GroupedMatmul([packed[:16], packed[16:]], FORMATS[name], bias)
    assert torch.equal(product.matrix(), FORMATS[name].weights(packed))
    assert (product.kernel_weights is not None) == (name != "q6_k" and processor_has_kernel())
    for num_rows in (1, 5, 200):
        x = drawn(num_rows, 256, seed=num_rows)
        expected = x @ FORMATS[name].weights(packed).T + bias
        gap = float((product(x) - expected).std() / (expected - bias).std())
        assert gap < (1e-5 if num_rows == 200 or product.kernel_weights is None else 0.006)


def test_rows_are_packed_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, x = some_blocks("q5_1", 208, 64), drawn(3, 64)
    whole = GroupedMatmul([packed], FORMATS["q5_1"], None)(x)
    monkeypatch.setattr(grouped_matmul, "BLOCK_ELEMENTS", 1)
    assert torch.equal(GroupedMatmul([packed[:32], packed[32:]], FORMATS["q5_1"], None)(x), whole)


def test_no_few_inputs_depend_on_the_others() -> None:
    product, x = GroupedMatmul([some_blocks("q4_0", 32, 64)], FORMATS["q4_0"], None), drawn(20, 64)
    assert torch.equal(product(x), torch.cat([product(row[None]) for row in x]))


@pytest.mark.parametrize("num_rows", [1, 3, 200])
def test_the_largest_logits_are_not_rounded(num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped_matmul, "SHORTLIST", 8)
    packed, bias, x = some_blocks("q8_0", 65, 96), drawn(65, seed=5), drawn(1, num_rows, 96, seed=6)
    expected = x @ FORMATS["q8_0"].weights(packed).T + bias
    found = ShortlistMatmul([packed], FORMATS["q8_0"], bias)(x)
    for one, other in zip(found[0], expected[0], strict=True):
        torch.testing.assert_close(one.topk(8).values, other.topk(8).values, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.2)


def test_nothing_but_the_packed_matrix_is_kept_for_the_backward_pass() -> None:
    kept: list[Tensor] = []
    x, packed = drawn(3, 64).requires_grad_(), some_blocks("q4_1", 32, 64)
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each) or each, lambda each: each):
        grouped_linear(x, packed, FORMATS["q4_1"])
    assert [each.data_ptr() for each in kept] == [packed.data_ptr()]


class TestModel:
    formats: ClassVar = {
        "q4_0": EVERYWHERE, "q5_1": ["blocks.1.attention.query", "feedforward.output"], "q8_0": ["embedding"],
    }  # fmt: skip

    def test_the_nearest_name_decides(self) -> None:
        model = model_of(linear={"kind": "grouped", "formats": self.formats}, feedforward={"kind": "experts",
            "num_experts": 2, "experts_per_token": 1, "hidden_dim": 32})  # fmt: skip
        found = {
            place: layer.form.name for place, layer in model.named_modules()
            if isinstance(layer, GroupedLinear | GroupedEmbedding)
        }  # fmt: skip
        assert found["blocks.0.attention.query"] == "q4_0"
        assert found["blocks.1.attention.query"] == "q5_1"
        assert found["blocks.0.feedforward.experts.1.output"] == "q5_1"
        assert found["embedding"] == "q8_0"
        assert "blocks.0.feedforward.router" not in found
        assert "head" not in found

    @pytest.mark.parametrize("tied", [True, False])
    def test_it_computes_what_a_dense_model_of_its_weights_does(self, tied: bool) -> None:
        made = model_of(linear={"kind": "grouped", "formats": self.formats}, tie_embeddings=tied)
        dense = model_of(tie_embeddings=tied)
        assert made.num_parameters == dense.num_parameters == cost(made.config).num_parameters
        assert isinstance(made.head, GroupedLinear) == tied
        if tied:
            assert made.head.weight is made.embedding.weight
        there = dict(made.named_modules())
        with torch.no_grad():
            for place, layer in dense.named_modules():
                if isinstance(there[place], GroupedLinear | GroupedEmbedding):
                    layer.weight.copy_(there[place].matrix())
        ids = torch.randint(50, (2, 20), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(made(ids), dense(ids), rtol=1e-4, atol=1e-4)

    def test_an_engine_packs_the_layers_of_its_copy(self) -> None:
        made = model_of(linear={"kind": "grouped", "formats": self.formats}, tie_embeddings=True, vocab_size=320)
        fast = inference_model(made)
        block = fast.get_submodule("blocks.0.attention")
        assert isinstance(block.query, PackedLinear)
        assert not isinstance(made.get_submodule("blocks.0.attention.query"), PackedLinear)
        x = drawn(1, 4, 32)
        both = fused_projections(x, block.query, block.key)
        original = made.get_submodule("blocks.0.attention")
        for found, layer in zip(both, (original.query, original.key), strict=True):
            torch.testing.assert_close(found, layer(x), rtol=0.05, atol=0.02)
        assert isinstance(fast.head, PackedLinear)
        ids = torch.arange(5)[None]
        with torch.no_grad():
            gap = (fast(ids) - made(ids)).std() / made(ids).std()
        assert 0 <= float(gap) < 0.02

    def test_wrong_formats_are_refused(self) -> None:
        with pytest.raises(UserError, match=r"attention\.quer is no layer of this model \(allowed: attention\.key"):
            model_of(linear={"kind": "grouped", "formats": {"q4_0": ["attention.quer"]}})
        with pytest.raises(UserError, match="rows of 32, and q4_k whole blocks of 256"):
            model_of(linear={"kind": "grouped", "formats": {"q4_k": ["attention.query"]}})
        with pytest.raises(UserError, match="q3"):
            model_of(linear={"kind": "grouped", "formats": {"q3": ["attention.query"]}})

    @pytest.mark.parametrize("tied", [True, False])
    def test_adapters_are_trained_over_it_and_merged(self, tied: bool) -> None:
        made = model_of(linear={"kind": "grouped", "formats": self.formats}, tie_embeddings=tied)
        adapted = with_adapters(made, LoraLinearSettings(rank=2, targets=["attention.*", "head"]))
        frozen = {name: each.clone() for name, each in adapted.named_parameters() if not each.requires_grad}
        assert all("lora" in name for name, each in adapted.named_parameters() if each.requires_grad)
        ids = torch.randint(50, (2, 20), generator=torch.Generator().manual_seed(0))
        optimizer = torch.optim.Adam([each for each in adapted.parameters() if each.requires_grad], lr=0.005)
        losses = []
        for _ in range(4):
            hidden = adapted.hidden(ids[:, :-1]).flatten(0, 1)
            loss = linear_cross_entropy(hidden, adapted.head_weight, ids[:, 1:].flatten())
            losses.append(float(loss.detach()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert losses[-1] < losses[0]
        for name, parameter in adapted.named_parameters():
            assert name not in frozen or torch.equal(parameter, frozen[name])
        merged = merge_lora(adapted)
        with torch.no_grad():
            assert float((made(ids) - adapted(ids)).abs().max()) > 0.01
            torch.testing.assert_close(merged(ids), adapted(ids), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(dequantize(made)(ids), made(ids), rtol=1e-4, atol=1e-4)
            assert torch.equal(without_adapters(adapted)(ids), made(ids))
            fast = inference_model(adapted)
            assert isinstance(fast.get_submodule("blocks.0.attention.query.base"), PackedLinear)
            assert float((fast(ids) - adapted(ids)).std() / adapted(ids).std()) < 0.02
