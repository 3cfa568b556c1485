"""Configs as their makers published them ask for as many parameters as the makers counted."""

from __future__ import annotations

from typing import Any

import pytest

from gptsmith.convert.families import family_of
from gptsmith.model.cost import cost

PUBLISHED: dict[str, tuple[int, dict[str, Any]]] = {
    "EleutherAI/pythia-70m": (
        70_426_624,
        {
            "model_type": "gpt_neox", "vocab_size": 50304, "hidden_size": 512, "intermediate_size": 2048,
            "num_hidden_layers": 6, "num_attention_heads": 8, "max_position_embeddings": 2048, "rotary_pct": 0.25,
            "rotary_emb_base": 10000, "layer_norm_eps": 1e-5, "use_parallel_residual": True,
            "tie_word_embeddings": False, "hidden_act": "gelu",
        },
    ),
    "google/gemma-2-2b": (
        2_614_341_888,
        {
            "model_type": "gemma2", "vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216,
            "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "max_position_embeddings": 8192, "sliding_window": 4096, "rope_theta": 10000.0,
            "query_pre_attn_scalar": 256, "hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6,
            "hidden_activation": "gelu_pytorch_tanh", "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0, "cache_implementation": "hybrid",
        },
    ),
    "google/gemma-3-1b-it": (
        999_885_952,
        {
            "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152, "intermediate_size": 6912,
            "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
            "max_position_embeddings": 32768, "sliding_window": 512, "sliding_window_pattern": 6,
            "rope_theta": 1000000, "rope_local_base_freq": 10000, "rope_scaling": None, "query_pre_attn_scalar": 256,
            "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "attn_logit_softcapping": None,
            "final_logit_softcapping": None, "cache_implementation": "hybrid",
        },
    ),
    "HuggingFaceTB/SmolLM3-3B": (
        3_075_098_624,
        {
            "model_type": "smollm3", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 11008,
            "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 4, "rope_theta": 5e6,
            "max_position_embeddings": 65536, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
        },
    ),
    "allenai/OLMo-2-0425-1B": (
        1_484_916_736,
        {
            "model_type": "olmo2", "vocab_size": 100352, "hidden_size": 2048, "intermediate_size": 8192,
            "num_hidden_layers": 16, "num_attention_heads": 16, "num_key_value_heads": 16, "rope_theta": 500000,
            "max_position_embeddings": 4096, "tie_word_embeddings": False, "rms_norm_eps": 1e-6,
        },
    ),
    "ibm-granite/granite-3.1-2b-instruct": (
        2_533_531_648,
        {
            "model_type": "granite", "vocab_size": 49155, "hidden_size": 2048, "intermediate_size": 8192,
            "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 5e6,
            "max_position_embeddings": 131072, "tie_word_embeddings": True, "embedding_multiplier": 12.0,
            "attention_multiplier": 0.015625, "residual_multiplier": 0.22, "logits_scaling": 8.0,
        },
    ),
    "bigcode/starcoder2-3b": (
        3_030_371_328,
        {
            "model_type": "starcoder2", "vocab_size": 49152, "hidden_size": 3072, "intermediate_size": 12288,
            "num_hidden_layers": 30, "num_attention_heads": 24, "num_key_value_heads": 2, "rope_theta": 999999.44,
            "max_position_embeddings": 16384, "sliding_window": 4096, "use_bias": True, "norm_epsilon": 1e-5,
        },
    ),
    "Qwen/Qwen3-30B-A3B": (
        30_532_122_624,
        {
            "model_type": "qwen3_moe", "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144,
            "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4,
            "head_dim": 128, "max_position_embeddings": 40960, "rope_theta": 1000000.0, "tie_word_embeddings": False,
            "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": True, "decoder_sparse_step": 1,
            "mlp_only_layers": [], "use_sliding_window": False, "sliding_window": None, "max_window_layers": 48,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_has_the_published_number_of_parameters(name: str) -> None:
    """Counted with one layer and with two, since all layers have as many."""
    number, config = PUBLISHED[name]
    family = family_of(config["model_type"])
    one, two = (cost(family.read({**config, "num_hidden_layers": count})).num_parameters for count in (1, 2))
    assert one + (config["num_hidden_layers"] - 1) * (two - one) == number
