"""Hugging Face folders of small random models, as Transformers itself writes them, with tokenizers of each style."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer

from gptsmith.base.settings import merged
from gptsmith.convert.families import Family, families
from gptsmith.convert.gguf_pretokenizers import LLAMA3_SPLIT
from gptsmith.convert.probe_texts import TEXTS
from gptsmith.model.config import GPTConfig
from gptsmith.text.pretokenization import GPT2_SPLIT, QWEN2_SPLIT
from tests.convert.tokenizer_styles import byte_level, lowercase, sentence_piece, split_by

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}"
    "{% endif %}<|start|>{{ message.role }}\n{{ message.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


TURNS = ["<|start|>", "<|end|>"]
TOKENIZERS: dict[str, Callable[[], tuple[Tokenizer, dict[str, Any]]]] = {
    "gpt2": lambda: (byte_level(split_by(GPT2_SPLIT), ["<|endoftext|>"]), {"eos_token": "<|endoftext|>"}),
    "gpt1": lambda: (lowercase(), {"unk_token": "<unk>"}),
    "qwen2": lambda: (
        byte_level(split_by(QWEN2_SPLIT), ["<|endoftext|>", *TURNS]),
        {"eos_token": "<|end|>", "chat_template": CHAT_TEMPLATE},
    ),
    "llama3": lambda: (
        byte_level(split_by(LLAMA3_SPLIT), ["<|begin|>", "<|done|>", *TURNS], bos="<|begin|>"),
        {"bos_token": "<|begin|>", "eos_token": "<|done|>", "chat_template": CHAT_TEMPLATE},
    ),
    "llama2": lambda: (
        sentence_piece(),
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    ),
    "mistral": lambda: (
        sentence_piece("first"),
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    ),
}

SMALL = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80,
    "max_position_embeddings": 128,
}  # fmt: skip
GROUPED = SMALL | {"num_key_value_heads": 2}
QWEN3_MOE = GROUPED | {"moe_intermediate_size": 40, "num_experts": 5, "num_experts_per_tok": 2}
SMOLLM3 = GROUPED | {"num_hidden_layers": 4, "tie_word_embeddings": True}
GRANITE = GROUPED | {
    "embedding_multiplier": 12.0, "attention_multiplier": 0.4, "residual_multiplier": 0.22, "logits_scaling": 8.0,
}  # fmt: skip
GPT = {"n_positions": 128, "n_embd": 48, "n_layer": 3, "n_head": 4}
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
GEMMA3 = GROUPED | {"num_hidden_layers": 4, "head_dim": 16, "sliding_window": 9, "sliding_window_pattern": 3}
GEMMA3_ROPE = {"full_attention": LINEAR, "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}}

# The weights of these small models are large: caps that a trained one meets now and then are met at once.
GEMMA2 = GROUPED | {"head_dim": 16, "sliding_window": 9, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 2.0}

GPT_OSS = GROUPED | {
    "head_dim": 16, "num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 9,
}  # fmt: skip
GPT_OSS_ROPE = YARN | {"rope_theta": 150_000.0, "truncate": False, "attention_factor": 1.2}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    #                    model_type, tokenizer, config
    "gpt1": ("openai-gpt", "gpt1", GPT),
    "gpt2": ("gpt2", "gpt2", GPT),
    "gpt2-relu-wide": (
        "gpt2", "gpt2", GPT | {"activation_function": "relu", "n_inner": 70, "layer_norm_epsilon": 1e-3},
    ),
    "gpt2-untied": ("gpt2", "gpt2", GPT | {"tie_word_embeddings": False}),
    "llama2": ("llama", "llama2", SMALL),
    "llama3": ("llama", "llama3", GROUPED | {"rope_parameters": LLAMA3_ROPE, "tie_word_embeddings": True}),
    "llama-biased": ("llama", "llama3", GROUPED | {"attention_bias": True, "mlp_bias": True, "head_dim": 20}),
    "llama-linear": ("llama", "llama3", GROUPED | {"rope_parameters": LINEAR, "rms_norm_eps": 1e-4}),
    "mistral": ("mistral", "mistral", GROUPED | {"sliding_window": 9}),
    "mistral-full": ("mistral", "mistral", GROUPED | {"sliding_window": None, "head_dim": 16}),
    "qwen2": ("qwen2", "qwen2", GROUPED | {"tie_word_embeddings": True}),
    "qwen2-window": (
        "qwen2", "qwen2", GROUPED | {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    ),
    "qwen2-yarn": ("qwen2", "qwen2", GROUPED | {"rope_parameters": YARN}),
    "qwen3": ("qwen3", "qwen2", GROUPED | {"head_dim": 32}),
    "phi3": ("phi3", "llama2", GROUPED),
    "phi3-window": (
        "phi3", "llama2", SMALL | {"sliding_window": 9, "head_dim": 16, "tie_word_embeddings": True},
    ),
    "gemma3": ("gemma3_text", "llama2", GEMMA3 | {"query_pre_attn_scalar": 24}),
    "gemma3-untied": (
        "gemma3_text", "llama2", GEMMA3 | {
            "tie_word_embeddings": False, "attention_bias": True, "rope_parameters": GEMMA3_ROPE,
            "layer_types": ["full_attention", *["sliding_attention"] * 3],
        },
    ),
    "gemma2": ("gemma2", "llama2", GEMMA2 | {"query_pre_attn_scalar": 24}),
    "gemma2-untied": (
        "gemma2", "llama2", GEMMA2 | {
            "tie_word_embeddings": False, "attention_bias": True, "final_logit_softcapping": None,
            "layer_types": ["full_attention", *["sliding_attention"] * 2], "rope_parameters": LINEAR,
        },
    ),
    "gemma2-logits": ("gemma2", "llama2", GEMMA2 | {"attn_logit_softcapping": None, "head_dim": 24}),
    "gpt_neox": ("gpt_neox", "gpt2", SMALL | {"num_attention_heads": 2}),
    "gpt_neox-serial": (
        "gpt_neox", "gpt2", SMALL | {
            "use_parallel_residual": False, "attention_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e4, "partial_rotary_factor": 0.5},
        },
    ),
    "gpt_neox-yarn": ("gpt_neox", "gpt2", SMALL | {"rope_parameters": YARN | {"partial_rotary_factor": 0.5}}),
    "gpt_oss": ("gpt_oss", "qwen2", GPT_OSS),
    "gpt_oss-plain": (
        "gpt_oss", "qwen2", GPT_OSS | {
            "num_hidden_layers": 4, "attention_bias": False, "tie_word_embeddings": True, "num_experts_per_tok": 3,
            "layer_types": ["full_attention", *["sliding_attention"] * 3], "rope_parameters": GPT_OSS_ROPE,
        },
    ),
    "granite": ("granite", "gpt2", GRANITE | {"tie_word_embeddings": True}),
    "granite-biased": ("granite", "llama2", GRANITE | {"attention_bias": True, "mlp_bias": True}),
    "olmo2": ("olmo2", "gpt2", GROUPED),
    "olmo2-biased": ("olmo2", "gpt2", SMALL | {"attention_bias": True, "tie_word_embeddings": True}),
    "smollm3": ("smollm3", "llama3", SMOLLM3),
    "smollm3-listed": (
        "smollm3", "llama3", SMOLLM3 | {
            "no_rope_layers": [0, 1, 1, 0], "attention_bias": True, "mlp_bias": True, "rope_parameters": YARN,
        },
    ),
    "smollm3-window": (
        "smollm3", "llama3", SMOLLM3 | {"no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": 9},
    ),
    "starcoder2": ("starcoder2", "gpt2", GROUPED | {"sliding_window": 9}),
    "starcoder2-plain": (
        "starcoder2", "gpt2", SMALL | {
            "num_key_value_heads": 1, "use_bias": False, "tie_word_embeddings": False, "hidden_act": "gelu",
            "norm_epsilon": 1e-3,
        },
    ),
    "mixtral": ("mixtral", "mistral", GROUPED | {"num_local_experts": 4}),
    "mixtral-window": (
        "mixtral", "mistral", GROUPED | {
            "num_local_experts": 5, "num_experts_per_tok": 3, "sliding_window": 9, "head_dim": 16,
            "tie_word_embeddings": True, "router_aux_loss_coef": 0.02,
        },
    ),
    "qwen3_moe": ("qwen3_moe", "qwen2", QWEN3_MOE | {"norm_topk_prob": True}),
    "qwen3_moe-window": (
        "qwen3_moe", "qwen2", QWEN3_MOE | {
            "num_experts_per_tok": 3, "use_sliding_window": True, "sliding_window": 9, "head_dim": 16,
            "tie_word_embeddings": True, "router_aux_loss_coef": 0.02, "attention_bias": True,
        },
    ),
    "qwen3-one-head": ("qwen3", "qwen2", SMALL | {"num_key_value_heads": 1, "head_dim": 8, "attention_bias": True}),
}  # fmt: skip
"""Every setting of a family that changes what is computed."""


def own_shape(family: Family) -> GPTConfig:
    """A small shape of a family."""
    small = {"vocab_size": 8, "context_length": 128, "embed_dim": 48, "num_layers": 2, "num_heads": 4, "head_dim": 12}
    return GPTConfig.parse(merged(merged(small, family.fixed), {"feedforward": {"hidden_dim": 80}}))


def own_config(family: Family) -> dict[str, Any]:
    """The config of that shape, as the family's own table writes it."""
    config = family.write(own_shape(family))
    return {key: value for key, value in config.items() if key not in ("model_type", "architectures", "vocab_size")}


def models() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """`MODELS`, and for each family that there is a model of the shape that its own table writes."""
    return MODELS | {
        f"any-{family.model_type}": (family.model_type, "qwen2", own_config(family)) for family in families()
    }


def randomize(model: Any) -> None:
    """Draws all weights, biases and gains too, so that a wrong one shows."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(drawn + 1 if "norm" in name and name.endswith("weight") else drawn)


def write_tokenizer(style: str, folder: Path) -> Tokenizer:
    """Writes tokenizer.json and tokenizer_config.json as Transformers does."""
    backend, config = TOKENIZERS[style]()
    template = config.get("chat_template")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, **{key: value for key, value in config.items() if key != "chat_template"}
    )
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return backend


def write_model(name: str, folder: Path, **changes: Any) -> Any:
    """Writes a whole folder; returns the model as Transformers has it."""
    model_type, style, config = models()[name]
    backend = write_tokenizer(style, folder)
    words = backend.get_vocab_size()
    made = transformers.AutoConfig.for_model(model_type, **{"vocab_size": words + 5, **config, **changes})
    made.pad_token_id = None  # some families have one of their own, which a small vocabulary does not
    model = transformers.AutoModelForCausalLM.from_config(made)
    randomize(model)
    model.generation_config.eos_token_id = None
    model.eval().save_pretrained(folder)
    return model


def changed_config(folder: Path, **changes: Any) -> None:
    """Changes config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def languages(shared_data: Path) -> Iterator[str]:
    """The beginning of the Declaration of Human Rights in 388 languages where it is there, else the texts of
    certificates."""
    file = shared_data / "udhr_languages.jsonl"
    if not file.exists():
        yield from TEXTS
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)["text"][:1500]
