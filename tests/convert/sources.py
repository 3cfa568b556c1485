"""Small random models of every family, with tokenizers of each style, as an export is given them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import PreTokenizer

from gptsmith.convert.formats import KINDS, FormatSettings, Source
from gptsmith.convert.gguf_pretokenizers import LLAMA3_SPLIT
from gptsmith.convert.import_settings import ImportRequest, ImportSettings
from gptsmith.convert.probe_texts import TEXTS
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.run.contents import CheckpointContents, weights
from gptsmith.run.publish import published_run
from gptsmith.run.train_state import TrainState
from gptsmith.text.chat_template import CHATML, ChatTemplate
from gptsmith.text.pretokenization import GPT2_SPLIT, QWEN2_SPLIT
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from gptsmith.text.tokenizers.characters import CharactersTokenizerSettings
from tests.convert.tokenizer_styles import DIGITS, byte_level, sentence_piece, split_by

LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
ZEPHYR = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}\n{% endif %}"
    "{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)
QWEN = """\
{%- set first = messages[0].content if messages[0].role == 'system' else 'You are a smith.' %}
{%- if tools %}
    {{- '<|im_start|>system\\n' + first + "\\n\\n# Tools\\n\\nTheir signatures are within <tools></tools>:\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools>\\n\\nCall them so:\\n<tool_call>\\n{\\"name\\": <name>, \\"arguments\\": <object>}" }}
    {{- '\\n</tool_call><|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\n' + first + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first)
            or (message.role == 'assistant' and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for call in message.tool_calls %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""ChatML with tools, in the form that Qwen2.5 and Hermes have."""
QWEN_ALONE = (
    QWEN.replace("'You are a smith.'", "''")
    .replace(
        "'<|im_start|>system\\n' + first + \"\\n\\n# Tools",
        "'<|im_start|>system\\n' + first + ('\\n\\n' if messages[0].role == 'system' else '') + \"# Tools",
    )
    .replace("{%- else %}\n", "{%- elif messages[0].role == 'system' %}\n", 1)
)
"""The same without a default system turn, as Qwen3 has it."""
HERMES = QWEN_ALONE.replace("{{- '<|im_start|>user' }}", "{{- '<|im_start|>tool' }}")
"""The same with a turn of the role `tool`."""


def byte_tokens(
    split: PreTokenizer, special: list[str], bos: str | None = None, *, composes: bool = False
) -> Tokenizer:
    """Merges of bytes; the first special token ends documents, and the second turns."""
    return Tokenizer(byte_level(split, special, bos=bos, composes=composes), special[0], bos, special[1:2])


def llama_tokens(scheme: str | None = None) -> Tokenizer:
    """As in Llama 2's own file."""
    return Tokenizer(sentence_piece(scheme, every_merge=True), "</s>", "<s>")


def texts() -> list[str]:
    return [*TEXTS]


CHATML_SPECIAL = ["<|endoftext|>", "<|im_end|>", "<|im_start|>"]
LLAMA3_SPECIAL = ["<|end_of_text|>", "<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bpe": lambda: BPETokenizerSettings(vocab_size=400).train(texts, 1000),
    "bytes": lambda: BytesTokenizerSettings().train(texts, 1000),
    "characters": lambda: CharactersTokenizerSettings().train(texts, 1000),
    "gpt2": lambda: byte_tokens(split_by(GPT2_SPLIT), CHATML_SPECIAL[:1]),
    "qwen2": lambda: byte_tokens(split_by(QWEN2_SPLIT), CHATML_SPECIAL, composes=True),
    "llama3": lambda: byte_tokens(split_by(LLAMA3_SPLIT), LLAMA3_SPECIAL, "<|begin_of_text|>"),
    "smollm": lambda: byte_tokens(DIGITS, CHATML_SPECIAL),
    "llama2": llama_tokens,
    "metaspace-never": lambda: llama_tokens("never"),
    "metaspace-first": lambda: llama_tokens("first"),
    "gemma": lambda: llama_tokens("gemma"),
}

SMALL: dict[str, Any] = {
    "context_length": 128, "embed_dim": 64, "num_layers": 3, "num_heads": 4, "head_dim": 16,
    "feedforward": {"kind": "gated", "hidden_dim": 96}, "tie_embeddings": False,
}  # fmt: skip
PLAIN = SMALL | {"attention": {"kind": "full", "num_kv_heads": 2, "qk_norm": False}}
BIASED = SMALL | {
    "attention": {"kind": "full", "num_kv_heads": 2, "qk_norm": False, "bias": True, "output_bias": False}
}
EXPERTS = {"kind": "experts", "num_experts": 5, "experts_per_token": 2, "hidden_dim": 32}
NEOX = SMALL | {"attention": {"kind": "full", "bias": True}, "feedforward": {"kind": "mlp", "bias": True}}
GEMMA2 = SMALL | {
    "tie_embeddings": True, "logits_cap": 2.0,
    "attention": {
        "kind": "sliding_window", "window_size": 9, "layers": [0, 2], "num_kv_heads": 2, "qk_norm": False,
        "scale": 0.25, "score_cap": 1.5,
    },
    "position": {"kind": "rotary", "base": 1e4},
    "feedforward": {"kind": "gated", "activation": "geglu_tanh", "hidden_dim": 96},
    "norm_placement": "sandwich", "embedding_multiplier": 8.0,
}  # fmt: skip
GEMMA3 = SMALL | {
    "tie_embeddings": True,
    "attention": {
        "kind": "sliding_window", "window_size": 9, "layers": [0, 2], "num_kv_heads": 2, "qk_norm": True, "scale": 0.25,
    },
    "position": {"kind": "local_rotary", "base": 1e5, "local_base": 300.0, "local_layers": [0, 2]},
    "feedforward": {"kind": "gated", "activation": "geglu_tanh", "hidden_dim": 96},
    "norm_placement": "sandwich", "embedding_multiplier": 8.0,
}  # fmt: skip
"""A window and a base of its own in two layers of three."""
SMALL_GPT2 = {"context_length": 128, "embed_dim": 64, "num_layers": 3, "num_heads": 4}
LLAMA3_SCALING = {
    "kind": "llama3", "factor": 8.0, "low_frequency_factor": 1.0, "high_frequency_factor": 4.0,
    "original_context_length": 32,
}  # fmt: skip
YARN = {"kind": "yarn", "factor": 4.0, "original_context_length": 32}


def rotary(base: float, scaling: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"position": {"kind": "rotary", "base": base} | ({} if scaling is None else {"scaling": scaling})}


MODELS: dict[str, tuple[str, str, str | None, str | None, dict[str, Any]]] = {
    #                preset,  tokenizer, family, template, changes
    "smith": ("smith", "bpe", None, CHATML, SMALL),
    "smith-tied": ("smith", "bytes", None, None, SMALL | {"tie_embeddings": True, "head_dim": 24}),
    "gpt2": ("gpt2", "gpt2", "gpt2", None, SMALL_GPT2),
    "gpt2-untied": ("gpt2", "bpe", None, CHATML, SMALL_GPT2 | {"tie_embeddings": False, "embed_dim": 48}),
    "llama3": (
        "smith", "llama3", "llama", LLAMA3, PLAIN | {"tie_embeddings": True} | rotary(5e5, LLAMA3_SCALING)
    ),
    "llama2": ("smith", "llama2", "llama", ZEPHYR, PLAIN | rotary(1e4)),
    "llama-metaspace": ("smith", "metaspace-never", "llama", None, PLAIN | rotary(1e4)),
    "llama-biased": (
        "smith", "smollm", "llama", CHATML,
        PLAIN | {
            "attention": {"kind": "full", "num_kv_heads": 2, "qk_norm": False, "bias": True},
            "feedforward": {"kind": "gated", "hidden_dim": 96, "bias": True},
        },
    ),
    "llama-linear": ("smith", "smollm", "llama", None, PLAIN | rotary(1e4, {"kind": "linear", "factor": 2.0})),
    "mistral": ("smith", "llama2", "mistral", MISTRAL, PLAIN | rotary(1e4)),
    "phi3": ("smith", "llama2", "phi3", ZEPHYR, PLAIN | rotary(1e4)),
    "qwen2": ("smith", "qwen2", "qwen2", CHATML, BIASED | {"tie_embeddings": True} | rotary(1e6)),
    "qwen2-yarn": ("smith", "qwen2", "qwen2", CHATML, BIASED | rotary(1e6, YARN)),
    "qwen3": ("smith", "qwen2", "qwen3", CHATML, SMALL | {"head_dim": 32} | rotary(1e6)),
    "qwen3_moe": ("smith", "bpe", None, CHATML, SMALL | {"feedforward": EXPERTS}),
    "gpt_oss": (
        "gpt-oss-20b", "bpe", "gpt_oss", CHATML, SMALL | {
            "attention": {"window_size": 9, "layers": [0, 2], "num_kv_heads": 2}, "embed_dim": 64, "head_dim": 64,
            "feedforward": EXPERTS | {"activation": "swiglu_oai", "bias": True},
            "position": {"scaling": {"truncate": True}},
        },
    ),
    "mixtral": ("smith", "llama2", "mixtral", MISTRAL, PLAIN | {"feedforward": EXPERTS} | rotary(1e4)),
    "gpt_neox": ("gpt2", "gpt2", "gpt_neox", None, NEOX | {
        "position": {"kind": "rotary", "base": 3e3, "partial_rotary_factor": 0.25}, "parallel_residual": True,
    }),
    "gpt_neox-serial": ("gpt2", "gpt2", "gpt_neox", None, NEOX | {
        "position": {"kind": "rotary", "base": 1e2, "partial_rotary_factor": 0.5},
    }),
    "olmo2": ("smith", "gpt2", "olmo2", None, SMALL | {
        "attention": {"kind": "full", "num_kv_heads": 2, "qk_norm": True, "qk_norm_per_head": False},
        "norm_placement": "output",
    }),
    "smollm3": ("smith", "llama3", "smollm3", None, PLAIN | {
        "num_layers": 4, "tie_embeddings": True, "position": {"kind": "rotary", "base": 2e4, "layers": [0, 1, 2]},
    }),
    "granite": ("smith", "smollm", "granite", None, PLAIN | {
        "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 8.0,
        "attention": {"kind": "full", "num_kv_heads": 2, "qk_norm": False, "scale": 0.4},
    } | rotary(1e4)),
    "starcoder2": ("gpt2", "smollm", "starcoder2", None, NEOX | {
        "attention": {"kind": "full", "bias": True, "num_kv_heads": 2}, "position": {"kind": "rotary", "base": 1e5},
        "tie_embeddings": True,
    }),
    "gemma2": ("smith", "gemma", "gemma2", None, GEMMA2),
    "gemma3": ("smith", "gemma", "gemma3_text", None, GEMMA3),
    "gemma3-linear": ("smith", "gemma", "gemma3_text", None, GEMMA3 | {
        "tie_embeddings": False, "position": GEMMA3["position"] | {"scaling": {"kind": "linear", "factor": 2.0}},
    }),
    "qwen3-yarn": (
        "smith", "qwen2", "qwen3", CHATML,
        SMALL | {"head_dim": 32} | rotary(1e2, {
            "kind": "yarn", "factor": 4.0, "original_context_length": 64, "attention_factor": 1.3,
        }),
    ),
}  # fmt: skip
"""Every family, and every setting that changes what a GGUF file says."""


def source(name: str, *, scale: float = 0.12, **changes: Any) -> Source:
    """A model whose weights, biases and gains are all drawn, so that a wrong one shows."""
    base, style, model_type, template, settings = MODELS[name]
    tokenizer = TOKENIZERS[changes.pop("tokenizer", style)]()
    config = preset(base, **{"vocab_size": tokenizer.vocab_size + 5, **settings, **changes})
    model = GPT(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for place, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_(drawn + 1 if place.endswith(("norm.weight", "gain")) else drawn)
    chat = None if template is None else ChatTemplate(template)
    return Source(name, model.eval(), tokenizer, chat, {"temperature": 0.7, "top_k": 40, "top_p": 0.9}, model_type, "")


def form(kind: str, precision: str = "float32") -> FormatSettings:
    """The settings of a format."""
    return KINDS.settings(kind).parse({"kind": kind, "precision": precision}, "format")


def write_run(made: Source, folder: Path) -> Path:
    """A run of a model, as an import leaves it."""
    settings = ImportSettings(
        request=ImportRequest(folder="elsewhere", model_type=made.model_type or "qwen3"), model=made.model.config
    )
    contents = CheckpointContents(made.model.config, weights(made.model), settings.plain(), {}, TrainState())
    with published_run(
        folder, settings, contents, tokenizer=made.tokenizer, template=made.template, generation=made.generation
    ):
        return folder
