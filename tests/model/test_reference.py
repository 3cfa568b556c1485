"""Our trunk against Transformers' models with the same random weights."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset

SMALL = {"vocab_size": 90, "context_length": 32, "embed_dim": 48, "num_layers": 3, "num_heads": 4}
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


def randomize(model: PreTrainedModel) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


def gpt_weights(theirs: PreTrainedModel, after: bool) -> dict[str, torch.Tensor]:
    """GPT-1's and GPT-2's weights under our names: they keep matrices transposed, and one for q, k and v together."""
    state = theirs.state_dict()
    ours = {
        "embedding.weight": state["transformer.tokens_embed.weight" if after else "transformer.wte.weight"],
        "position.embedding.weight": state["transformer.positions_embed.weight" if after else "transformer.wpe.weight"],
    }
    ours["head.weight"] = ours["embedding.weight"]
    for layer in range(SMALL["num_layers"]):
        there, here = f"transformer.h.{layer}", f"blocks.{layer}"
        for part in ("weight", "bias"):
            turn = (lambda w: w.T) if part == "weight" else (lambda w: w)
            parts = state[f"{there}.attn.c_attn.{part}"].chunk(3, dim=-1)
            for name, piece in zip(("query", "key", "value"), parts, strict=True):
                ours[f"{here}.attention.{name}.{part}"] = turn(piece)
            ours[f"{here}.attention.output.{part}"] = turn(state[f"{there}.attn.c_proj.{part}"])
            ours[f"{here}.feedforward.input.{part}"] = turn(state[f"{there}.mlp.c_fc.{part}"])
            ours[f"{here}.feedforward.output.{part}"] = turn(state[f"{there}.mlp.c_proj.{part}"])
            ours[f"{here}.attention_norm.{part}"] = state[f"{there}.ln_1.{part}"]
            ours[f"{here}.feedforward_norm.{part}"] = state[f"{there}.ln_2.{part}"]
            if not after:
                ours[f"final_norm.{part}"] = state[f"transformer.ln_f.{part}"]
    return ours


def qwen3_weights(theirs: PreTrainedModel) -> dict[str, torch.Tensor]:
    names = {
        "model.embed_tokens": "embedding", "model.norm": "final_norm", "lm_head": "head", "model.layers": "blocks",
        "self_attn.q_proj": "attention.query", "self_attn.k_proj": "attention.key",
        "self_attn.v_proj": "attention.value",
        "self_attn.o_proj": "attention.output", "self_attn.q_norm": "attention.query_norm",
        "self_attn.k_norm": "attention.key_norm", "input_layernorm": "attention_norm",
        "post_attention_layernorm": "feedforward_norm", "mlp.gate_proj": "feedforward.gate",
        "mlp.up_proj": "feedforward.input", "mlp.down_proj": "feedforward.output",
    }  # fmt: skip
    ours = {}
    for name, weight in theirs.state_dict().items():
        for there, here in names.items():
            name = name.replace(there, here)
        ours[name] = weight
    return ours


def compare(ours: GPT, theirs: PreTrainedModel, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    ours.load_state_dict(weights)
    ours.to(dtype).eval()
    ids = torch.randint(90, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs.to(dtype).eval()(ids).logits, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_gpt2_equals_transformers(dtype: torch.dtype) -> None:
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=90, n_positions=32, n_embd=48, n_layer=3, n_head=4))
    randomize(theirs)
    compare(GPT(preset("gpt2", **SMALL)), theirs, gpt_weights(theirs, after=False), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_gpt1_equals_transformers(dtype: torch.dtype) -> None:
    theirs = OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=90, n_positions=32, n_embd=48, n_layer=3, n_head=4))
    randomize(theirs)
    compare(GPT(preset("gpt1", **SMALL)), theirs, gpt_weights(theirs, after=True), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_default_equals_qwen3(dtype: torch.dtype) -> None:
    # Four heads on two key heads, together wider than the stream.
    ours = GPT(preset("smith", vocab_size=90, context_length=32, embed_dim=128, num_layers=3, num_heads=4, head_dim=64))
    assert ours.config.num_kv_heads == 2
    config = Qwen3Config(
        vocab_size=90, hidden_size=128, num_hidden_layers=3, num_attention_heads=4, head_dim=64,
        num_key_value_heads=ours.config.num_kv_heads, tie_word_embeddings=False, max_position_embeddings=32,
        intermediate_size=ours.blocks[0].feedforward.gate.weight.shape[0], rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0}, attention_bias=False,
    )  # fmt: skip
    theirs = Qwen3ForCausalLM(config)
    randomize(theirs)
    weights = qwen3_weights(theirs)
    if dtype == torch.float64:
        # Both find angles in float32 and round differently there, and theirs normalises in float32 always: with one
        # set of angles, and their formula in float64, nothing but rounding is left.
        cos, signed_sin = (part.double()[None] for part in ours.position.rotation(torch.arange(20)))
        sin = torch.cat([signed_sin[..., signed_sin.shape[-1] // 2 :]] * 2, dim=-1)
        theirs.model.rotary_emb.forward = lambda *_: (cos, sin)
        for norm in theirs.modules():
            if isinstance(norm, Qwen3RMSNorm):
                norm.forward = lambda x, norm=norm: (
                    norm.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
                )
    compare(ours, theirs, weights, dtype)
