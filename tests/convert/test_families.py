"""Models of every family, written by Transformers, compute here what they compute there."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.settings import changed_keys
from gptsmith.convert.families import families, family_for, family_of, resolved
from gptsmith.convert.huggingface import ModelFolder
from gptsmith.convert.state_dict import tensor_mappings
from gptsmith.explain.check import check_model
from gptsmith.generate.api import generate_batch
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.model.rotary_scaling import RotaryScaling
from tests.convert.folders import changed_config, models, own_shape, write_model

IDS = torch.randint(280, (2, 60), generator=torch.Generator().manual_seed(0))


def opened(name: str, folder: Path) -> tuple[Any, GPT]:
    theirs = write_model(name, folder)
    found = ModelFolder.open(folder)
    return theirs, found.model()


@pytest.mark.parametrize("name", models())
def test_logits_and_greedy_text_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    theirs, ours = opened(name, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=0, atol=1e-4)
    prompt = IDS[0, :9].tolist()
    written = theirs.generate(
        torch.tensor([prompt]), max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0
    )[0, 9:].tolist()
    greedy = SamplingSettings(temperature=0)
    (completion,) = generate_batch(ours, None, [prompt], max_tokens=64, sampling=greedy, seeds=[0])
    assert completion.ids == written


def _routed(router: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    logits = x @ router.weight.T
    weights, chosen = logits.softmax(dim=-1).topk(router.top_k, dim=-1)
    is_renormalized = getattr(router, "norm_topk_prob", True)
    return logits, weights / weights.sum(dim=-1, keepdim=True) if is_renormalized else weights, chosen


def exact_norm(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """An RMSNorm of Transformers' in the dtype of its input; Gemma's weights are distances from 1, added in float32."""
    is_distance = hasattr(norm, "eps")
    gain = (norm.weight.float() + 1).to(x.dtype) if is_distance else norm.weight
    epsilon = norm.eps if is_distance else norm.variance_epsilon
    return gain * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)


def same_angles(
    theirs: Any, position: Any, _: Any, position_ids: Any = None, *layer_type: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Our cosines and sines in place of theirs, which they are near."""
    rotation = position.rotation(torch.arange(60))
    cos, signed = rotation[layer_type == ("sliding_attention",)] if layer_type else rotation
    theirs_cos, theirs_sin = theirs(torch.zeros(1), torch.arange(60)[None], *layer_type)
    half = signed.shape[-1] // 2
    sin = torch.cat([signed[..., half:]] * 2, dim=-1)
    cos, sin = cos[..., : theirs_cos.shape[-1]], sin[..., : theirs_cos.shape[-1]]  # gpt-oss's are of one half
    torch.testing.assert_close(cos, theirs_cos[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(sin, theirs_sin[0], rtol=0, atol=1e-5)
    return cos.double()[None], sin.double()[None]


@pytest.mark.parametrize("name", models())
def test_in_float64_nothing_but_rounding_is_left(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = opened(name, tmp_path)
    theirs, ours = theirs.double(), ours.double()
    theirs.config._experts_implementation = "eager"  # the grouped product knows no float64
    for module in theirs.modules():
        if type(module).__name__.endswith("RMSNorm"):  # theirs normalise in float32 whatever they are given
            module.forward = partial(exact_norm, module)
        if type(module).__name__.endswith("TopKRouter") and not hasattr(module, "bias"):  # and route in float32
            module.forward = lambda x, router=module: _routed(router, x.flatten(0, -2))
        if type(module).__name__.endswith("RotaryEmbedding"):  # angles are found in float32 there and here
            module.forward = partial(same_angles, module.forward, ours.position)
        if hasattr(module, "scalar_embed_scale"):  # a number that was rounded to float32
            module.embed_scale = torch.tensor(module.scalar_embed_scale, dtype=torch.float64)
    # Some round the scores of their attention to float32.
    monkeypatch.setattr(torch.nn.functional, "softmax", lambda scores, dim, dtype=None: scores.softmax(dim))
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=0, atol=1e-10)
    # So are the identities of explanations.
    checks = check_model(ours, ModelFolder.open(tmp_path).tokenizer)
    assert [check for check in checks if not check.holds or check.bound > 1e-10] == []


def test_angles_far_from_the_beginning_are_the_same_bits() -> None:
    config = transformers.LlamaConfig(
        hidden_size=64, num_attention_heads=1, rope_parameters={"rope_type": "default", "rope_theta": 1e6}
    )
    theirs = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    places = torch.tensor([[0, 1, 1000, 100_003]])
    ours = preset("smith", vocab_size=8, position={"kind": "rotary", "base": 1e6}).position.build(
        preset("smith", head_dim=64).dims
    )
    cos, sin = theirs(torch.zeros(1), places)
    mine, signed = ours.rotation(places[0])
    assert torch.equal(mine, cos[0])
    assert torch.equal(signed[:, 32:], sin[0, :, 32:])


@pytest.mark.parametrize("name", models())
def test_weights_go_out_as_they_came_in(name: str, tmp_path: Path) -> None:
    write_model(name, tmp_path)
    found = ModelFolder.open(tmp_path)
    ours = dict(found.weights())
    for mapping in found.table:
        torch.testing.assert_close(
            mapping.join(ours), found.files.read(mapping.theirs, mapping.expert), rtol=0, atol=2e-7
        )


@pytest.mark.parametrize("name", models())
def test_a_shape_goes_out_as_it_came_in(name: str, tmp_path: Path) -> None:
    write_model(name, tmp_path)
    found = ModelFolder.open(tmp_path)
    assert family_for(found.shape, preferred=found.family.model_type).model_type == found.family.model_type
    back = found.family.read(found.family.write(found.shape))
    assert changed_keys(resolved(found.shape), resolved(back)) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"attention": "additive"}, "attention.kind=additive"),
        ({"attention": "residual_query"}, "attention.kind=residual_query"),
        ({"position": "alibi"}, "position.kind=alibi"),
        ({"position": "sinusoidal"}, "position.kind=sinusoidal"),
        ({"feedforward": {"kind": "mlp"}}, "feedforward.kind=mlp"),
        ({"norm_placement": "post"}, "norm_placement=post"),
        ({"num_labels": 2}, "num_labels"),
    ],
)
def test_a_shape_that_no_family_has_is_refused_by_its_part(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match="nearest") as caught:
        family_for(preset("smith", **changes))
    assert named in str(caught.value)


def test_gpt3_is_refused_for_its_bands_alone() -> None:
    with pytest.raises(UserError, match=r"attention.kind=sliding_window; the nearest that one does is the preset gpt2"):
        family_for(preset("gpt3-125m"))


def test_a_band_as_wide_as_the_context_is_full_attention() -> None:
    wide = preset("gpt3-125m", attention={"window_size": 2048})
    assert family_for(wide).model_type == "gpt2"


@pytest.mark.parametrize("name", ["smith", "gpt1", "gpt2"])
def test_presets_belong_to_their_families(name: str) -> None:
    assert family_for(preset(name)).model_type == {"smith": "qwen3", "gpt1": "openai-gpt", "gpt2": "gpt2"}[name]


def test_our_default_with_experts_is_a_qwen3_moe() -> None:
    assert family_for(preset("smith", feedforward="experts")).model_type == "qwen3_moe"
    with pytest.raises(UserError, match=r"feedforward.balance_rate=0.01; the nearest .*family qwen3_moe"):
        family_for(preset("smith", feedforward={"kind": "experts", "balance_rate": 0.01}))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"decoder_sparse_step": 2}, r"decoder_sparse_step=2 is not known \(allowed: 1\)"),
        ({"mlp_only_layers": [0]}, r"mlp_only_layers=\[0\] is not known"),
        ({"num_experts": 0, "num_local_experts": 0}, "num_experts"),
        ({"num_experts": None, "num_local_experts": 1}, "experts_per_token=2 is more than num_experts=1"),
        ({"hidden_act": "relu"}, "hidden_act='relu' is not known"),
    ],
)
def test_a_qwen3_moe_with_other_layers_is_refused(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    write_model("qwen3_moe", tmp_path)
    changed_config(tmp_path, **changes)
    with pytest.raises(UserError, match=named):
        ModelFolder.open(tmp_path)


def test_every_parameter_has_a_name_in_each_table() -> None:
    for family in families():
        config = own_shape(family)
        names = [name for mapping in tensor_mappings(family, config) for name in mapping.ours]
        with torch.device("meta"):
            assert sorted(names) == sorted(name for name, _ in GPT(config).named_parameters())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rope_scaling": {"type": "longrope", "short_factor": [1.0] * 6, "long_factor": [2.0] * 6}}, "longrope"),
        ({"rope_scaling": {"type": "su", "short_factor": [1.0] * 6, "long_factor": [2.0] * 6}}, "su"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "yarn"),  # which is longrope to Phi-3
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.75}}, "partial_rotary_factor"),
        ({"partial_rotary_factor": 0.75}, "partial_rotary_factor"),
    ],
)
def test_phi3_with_other_rotary_positions_is_refused(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    write_model("phi3", tmp_path)
    changed_config(tmp_path, **({"rope_parameters": None} | changes))
    with pytest.raises(UserError, match=f"{named}.*is not known"):
        ModelFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": None, "sliding_window_pattern": 0}, "sliding_window_pattern"),
        ({"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}}, "sliding_attention"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar"),
        ({"num_hidden_layers": 2**40, "layer_types": None}, "num_hidden_layers=1099511627776 is not a whole number"),
        ({"num_hidden_layers": "many", "layer_types": None}, "num_hidden_layers='many' is not a whole number"),
    ],
)
def test_a_gemma_that_computes_something_else_is_refused(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    write_model("gemma3", tmp_path)
    changed_config(tmp_path, **changes)
    with pytest.raises(UserError, match=named):
        ModelFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"attn_logit_softcapping": 0}, "attention.score_cap"),
        ({"final_logit_softcapping": -30.0}, "logits_cap"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"hidden_activation": "relu"}, "hidden_activation"),
        ({"num_hidden_layers": 2**40, "layer_types": None}, "num_hidden_layers=1099511627776 is not a whole number"),
        ({"num_hidden_layers": "many", "layer_types": None}, "num_hidden_layers='many' is not a whole number"),
    ],
)
def test_a_gemma2_that_computes_something_else_is_refused(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    write_model("gemma2", tmp_path)
    changed_config(tmp_path, **changes)
    with pytest.raises(UserError, match=named):
        ModelFolder.open(tmp_path)


def test_gemma2_as_published_leaves_its_caps_and_windows_to_their_defaults() -> None:
    shape = family_of("gemma2").read({})
    assert (shape.attention.score_cap, shape.logits_cap, shape.attention.window_size) == (50.0, 30.0, 4096)
    assert [shape.attention.is_windowed(layer) for layer in range(3)] == [True, False, True]


def test_a_shape_with_caps_is_gemma2s_alone() -> None:
    shape = family_of("gemma2").read({})
    assert family_for(shape).model_type == "gemma2"
    capped = preset("smith", attention={"qk_norm": False, "score_cap": 50.0}, logits_cap=30.0)
    assert family_of("llama").unsupported(capped) == ["attention.score_cap", "logits_cap"]


def test_a_gemma_under_the_older_names_is_the_same(tmp_path: Path) -> None:
    write_model("gemma3", tmp_path)
    new = ModelFolder.open(tmp_path).shape
    changed_config(
        tmp_path, layer_types=None, sliding_window_pattern=3, rope_parameters=None, rope_theta=1e6,
        rope_local_base_freq=1e4,
    )  # fmt: skip
    assert ModelFolder.open(tmp_path).shape == new


def test_a_shape_of_llamas_is_no_granite_or_smollm3() -> None:
    shape = preset("smith", attention={"qk_norm": False})
    assert family_for(shape).model_type == "llama"
    assert family_for(shape.model_copy(update={"residual_multiplier": 0.5})).model_type == "granite"


def test_a_shape_with_scaled_frequencies_is_none_of_phi3s() -> None:
    scaled = preset("smith", attention={"qk_norm": False}, position={"scaling": {"kind": "linear", "factor": 2.0}})
    assert family_for(scaled, preferred="phi3").model_type == "llama"


def test_scaling_needs_to_know_what_it_scales() -> None:
    with pytest.raises(UserError, match="original_context_length"):
        RotaryScaling.parse({"kind": "llama3", "factor": 8.0})
