"""Hugging Face folders of small random models, as Transformers itself writes them, with tokenizers of each style."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from gptsmith.convert.probe_texts import TEXTS
from gptsmith.text.pretokenization import GPT2_SPLIT, QWEN2_SPLIT
from gptsmith.text.tokenizer import byte_letters

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}"
    "{% endif %}<|start|>{{ message.role }}\n{{ message.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def byte_level(split: str, control: list[str], *, opening: str | None = None) -> Backend:
    """Merges of bytes, as GPT-2, Llama 3 and Qwen have them."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = (
        pre_tokenizers.ByteLevel(add_prefix_space=False)
        if split == GPT2_SPLIT
        else pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(split), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=list(byte_letters().values()), show_progress=False)
    backend.train_from_iterator(TEXTS * 3, trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    if opening is not None:
        number = backend.token_to_id(opening)
        backend.post_processor = processors.TemplateProcessing(
            single=f"{opening} $A", special_tokens=[(opening, number)]
        )
    return backend


def sentence_piece(*, metaspace: bool) -> Backend:
    """Merges of characters with bytes to fall back on, as Llama 2 and Mistral have them; spaces by a pre-tokenizer (the
    newer form) or by a normalizer."""
    control = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[*control, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    learnt = Backend(models.BPE(unk_token="<unk>"))
    learnt.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learnt.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    learnt.train_from_iterator([text for text in TEXTS[:24] for _ in range(3)], trainer)
    state = json.loads(learnt.to_str())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    backend = Backend(models.BPE(state["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    else:
        backend.normalizer = learnt.normalizer
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


def small_letters() -> Backend:
    """GPT-1's: small letters only, words end in </w>."""
    backend = Backend(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    return backend


TURNS = ["<|start|>", "<|end|>"]
TOKENIZERS: dict[str, Callable[[], tuple[Backend, dict[str, Any]]]] = {
    "gpt2": lambda: (byte_level(GPT2_SPLIT, ["<|endoftext|>"]), {"eos_token": "<|endoftext|>"}),
    "gpt1": lambda: (small_letters(), {"unk_token": "<unk>"}),
    "qwen2": lambda: (
        byte_level(QWEN2_SPLIT, ["<|endoftext|>", *TURNS]),
        {"eos_token": "<|end|>", "chat_template": CHAT_TEMPLATE},
    ),
    "llama3": lambda: (
        byte_level(LLAMA3_SPLIT, ["<|begin|>", "<|done|>", *TURNS], opening="<|begin|>"),
        {"bos_token": "<|begin|>", "eos_token": "<|done|>", "chat_template": CHAT_TEMPLATE},
    ),
    "llama2": lambda: (
        sentence_piece(metaspace=False),
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    ),
    "mistral": lambda: (
        sentence_piece(metaspace=True),
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    ),
}

SMALL = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80,
    "max_position_embeddings": 128,
}  # fmt: skip
GROUPED = SMALL | {"num_key_value_heads": 2}
GPT = {"n_positions": 128, "n_embd": 48, "n_layer": 3, "n_head": 4}
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}

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
    "qwen3-one-head": ("qwen3", "qwen2", SMALL | {"num_key_value_heads": 1, "head_dim": 8, "attention_bias": True}),
}  # fmt: skip
"""Every family, and every setting that changes what is computed."""


def randomize(model: Any) -> None:
    """Draws all weights, biases and gains too, so that a wrong one shows."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(drawn + 1 if "norm" in name and name.endswith("weight") else drawn)


def write_tokenizer(style: str, folder: Path) -> Backend:
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
    model_type, style, config = MODELS[name]
    backend = write_tokenizer(style, folder)
    words = backend.get_vocab_size()
    made = transformers.AutoConfig.for_model(model_type, **{"vocab_size": words + 5, **config, **changes})
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
