r"""The ways to split text that llama.cpp has names for.

They are written as the models' own tokenizers write them. llama.cpp's own expressions say the same in another way,
since its engine knows neither `(?i:...)` nor `\p{Lu}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.text.pretokenization import GPT2_SPLIT, QWEN2_SPLIT

GPT2_SPELT_OUT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN35_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CASES = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
)
PUNCTUATION = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN_SPLIT = CASES % ("", "") + r"|\p{N}" + PUNCTUATION
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O_SPLIT = CASES % (CONTRACTION, CONTRACTION) + r"|\p{N}{1,3}" + PUNCTUATION
SEED_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_SPLITS = (
    r"\p{N}{1,3}",
    "[一-龥\\u3040-\\u309f\\u30a0-\\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)
DIGIT = r"\p{N}"


@dataclass(frozen=True)
class Pretokenizer:
    """A way to split text.

    Attributes:
        names: llama.cpp's names for it; the first is written.
        splits: the expressions, one after the other.
        ignores_merges: whether a word that is a token is that token, whatever its merges give.
        adds_bos: whether `bos` stands before every text unless the file says otherwise.
    """

    names: Sequence[str]
    splits: tuple[str, ...]
    ignores_merges: bool = False
    adds_bos: bool = False


PRETOKENIZERS = (
    Pretokenizer(
        ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4", "gigachat", "a.x-4.0", "mellum"), (GPT2_SPLIT,)
    ),
    Pretokenizer(
        ("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "kormo", "solar-open", "grok-2"), (QWEN2_SPLIT,)
    ),
    Pretokenizer(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        (LLAMA3_SPLIT,),
        ignores_merges=True,
        adds_bos=True,
    ),
    Pretokenizer(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), (DIGIT, GPT2_SPLIT)
    ),
    Pretokenizer(("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), (LLAMA3_SPLIT,)),
    Pretokenizer(("tekken",), (TEKKEN_SPLIT,), ignores_merges=True, adds_bos=True),
    Pretokenizer(("gpt-4o", "llama4", "kanana2"), (GPT4O_SPLIT,)),
    Pretokenizer(("qwen35",), (QWEN35_SPLIT,)),
    Pretokenizer(("seed-coder",), (SEED_SPLIT,)),
    Pretokenizer(("deepseek-v3", "hunyuan-dense", "joyai-llm"), DEEPSEEK_SPLITS),
)
SPELLINGS = {GPT2_SPELT_OUT: GPT2_SPLIT}
"""Other spellings of the same expression."""


def named(name: object) -> Pretokenizer | None:
    """The way to split text of that name; None if it is not known."""
    return next((found for found in PRETOKENIZERS if name in found.names), None)


def all_names() -> list[str]:
    """The names that are known."""
    return [name for found in PRETOKENIZERS for name in found.names]


def name_of(splits: Sequence[str]) -> str | None:
    """llama.cpp's name for expressions that split text one after the other; None if it has none."""
    wanted = tuple(SPELLINGS.get(split, split) for split in splits)
    return next((found.names[0] for found in PRETOKENIZERS if found.splits == wanted), None)


def pre_tokenizer_state(splits: Sequence[str]) -> dict[str, Any]:
    """A pre-tokenizer of a tokenizer.json that splits so, and then spells in bytes."""
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    parts: list[dict[str, Any]] = []
    for place, split in enumerate(splits):
        if split == DIGIT:
            parts.append({"type": "Digits", "individual_digits": True})
        elif split == GPT2_SPLIT and place == len(splits) - 1:
            letters["use_regex"] = True
        else:
            parts.append({"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False})
    parts.append(letters)
    return parts[0] if len(parts) == 1 else {"type": "Sequence", "pretokenizers": parts}
