"""The published shapes of the GPT series, and our default."""

from __future__ import annotations

from typing import Any

from gptsmith.base.errors import ConfigurationError, did_you_mean
from gptsmith.base.settings import merged
from gptsmith.model.config import GPTConfig

GPT2_VOCAB_SIZE = 50257

# Radford et al. 2018. Post-norm, and no norm after the last block.
GPT1: dict[str, Any] = {
    "vocab_size": 40478,
    "context_length": 512,
    "embed_dim": 768,
    "num_layers": 12,
    "num_heads": 12,
    "attention": {"kind": "full", "bias": True},
    "position": {"kind": "learned"},
    "feedforward": {"kind": "mlp", "activation": "gelu_tanh", "bias": True},
    "norm": {"kind": "layernorm"},
    "norm_placement": "post",
    "tie_embeddings": True,
    "init": "gpt2",
}

# Radford et al. 2019, table 2: (layers, width, heads).
GPT2_SHAPES = {
    "gpt2": (12, 768, 12),
    "gpt2-medium": (24, 1024, 16),
    "gpt2-large": (36, 1280, 20),
    "gpt2-xl": (48, 1600, 25),
}

# Brown et al. 2020, table 2.1: (layers, width, heads). Two rows there do not multiply out. 1.3B says 24 heads of 128
# at width 2048: here 16 heads of 128. 13B says width 5140 with 40 heads of 128: here width 5120.
GPT3_SHAPES = {
    "gpt3-125m": (12, 768, 12),
    "gpt3-350m": (24, 1024, 16),
    "gpt3-760m": (24, 1536, 16),
    "gpt3-1.3b": (24, 2048, 16),
    "gpt3-2.7b": (32, 2560, 32),
    "gpt3-6.7b": (32, 4096, 32),
    "gpt3-13b": (40, 5120, 40),
    "gpt3-175b": (96, 12288, 96),
}

# OpenAI 2025, table 1 and section 2: (layers, experts).
GPT_OSS_SHAPES = {"gpt-oss-20b": (24, 32), "gpt-oss-120b": (36, 128)}


def _gpt_oss(num_layers: int, num_experts: int) -> dict[str, Any]:
    yarn = {"kind": "yarn", "factor": 32.0, "original_context_length": 4096, "truncate": False}
    return {
        "vocab_size": 201_088,
        "context_length": 131_072,
        "embed_dim": 2880,
        "num_layers": num_layers,
        "num_heads": 64,
        "head_dim": 64,
        "attention": {
            "kind": "sliding_window",
            "window_size": 128,
            "layers": list(range(0, num_layers, 2)),
            "num_kv_heads": 8,
            "sinks": True,
            "bias": True,
        },
        "position": {"kind": "rotary", "base": 150_000.0, "scaling": yarn},
        "feedforward": {
            "kind": "experts",
            "num_experts": num_experts,
            "experts_per_token": 4,
            "hidden_dim": 2880,
            "activation": "swiglu_oai",
            "bias": True,
        },
        "norm": {"kind": "rmsnorm", "epsilon": 1e-5},
    }


def _pre_norm(shape: tuple[int, int, int], context_length: int, attention_kind: str) -> dict[str, Any]:
    num_layers, embed_dim, num_heads = shape
    return GPT1 | {
        "vocab_size": GPT2_VOCAB_SIZE,
        "context_length": context_length,
        "embed_dim": embed_dim,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "attention": {"kind": attention_kind, "bias": True},
        "norm_placement": "pre",
    }


def usual_kv_heads(num_heads: int) -> int:
    """Heads of keys and values of the default model: half as many as query heads, if that is a whole number."""
    return num_heads // 2 if num_heads % 2 == 0 else num_heads


def smith_shape(embed_dim: int, num_layers: int) -> dict[str, Any]:
    """Qwen3's shape at any width: heads of 128 from width 1024 on, of 64 below it, two query heads a key head."""
    head_dim = 128 if embed_dim >= 1024 else 64
    num_heads = max(1, embed_dim // head_dim)
    return {
        "embed_dim": embed_dim,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "head_dim": head_dim,
        "attention": {
            "kind": "full",
            "num_kv_heads": usual_kv_heads(num_heads),
            "qk_norm": True,
        },
        "position": {"kind": "rotary"},
        "feedforward": {"kind": "gated"},
        "norm": {"kind": "rmsnorm"},
    }


PRESETS: dict[str, dict[str, Any]] = {
    "smith": {"vocab_size": 4096, "context_length": 256, **smith_shape(embed_dim=256, num_layers=6)},
    "gpt1": GPT1,
    **{name: _pre_norm(shape, 1024, "full") for name, shape in GPT2_SHAPES.items()},
    **{name: _pre_norm(shape, 2048, "sliding_window") for name, shape in GPT3_SHAPES.items()},
    **{name: _gpt_oss(*shape) for name, shape in GPT_OSS_SHAPES.items()},
}


def preset_settings(name: str) -> dict[str, Any]:
    """The settings of a preset, as a table to lay others over.

    Raises:
        ConfigurationError: no preset has that name; the message lists them.
    """
    if name not in PRESETS:
        raise ConfigurationError(f"no such preset: {name} ({did_you_mean(name, PRESETS)}; all: {', '.join(PRESETS)})")
    return merged(PRESETS[name], {})


def preset(name: str, **changes: Any) -> GPTConfig:
    """The config of a preset, with changes: `preset("gpt2", context_length=512)`."""
    return GPTConfig.parse(merged(preset_settings(name), changes, GPTConfig), f"preset {name}")
