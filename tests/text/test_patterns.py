"""Regular expressions of strangers: those of real tokenizers pass, those without bound do not."""

from __future__ import annotations

import pytest

from gptsmith.base.errors import DataError
from gptsmith.text.patterns import require_bounded
from gptsmith.text.pretokenization import GPT2_SPLIT, QWEN2_SPLIT

REAL = [
    GPT2_SPLIT,
    QWEN2_SPLIT,
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{M}&&[^\p{Han}]]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|\p{P}{1,2}| {2,}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"^.*\.(q|k|v)_proj$",
    r"model\.layers\.(0|1|2)\.self_attn\.(q_proj|v_proj)",
    r"[]a]+[^]b]*",
    r"a{,3}b{2}x{y}",
    "",
]
WITHOUT_BOUND = [
    r"(a+)+$",
    r"(a*)*b",
    r"(?:a|a)*b",
    r"(a?a?)*b",
    r"((a{1,3})b?){2,}c",
    r"(?<n>x+x+)+y",
    r"(?=(a+)+b)",
    r"(.*)(.*)(.*)(.*)(.*)x",
    r"(a+){9}b",
    r"(a)\1",
    r"(?P<n>a)(?P=n)",
    r"\g<0>",
    r"(((a{900}){900}){900})",
    r"([ab]+|c)+",
    "a" * 30_000,
]


@pytest.mark.parametrize("pattern", REAL)
def test_patterns_of_real_models_pass(pattern: str) -> None:
    require_bounded(pattern)


@pytest.mark.parametrize("pattern", WITHOUT_BOUND)
def test_a_pattern_without_bound_is_refused_in_a_line(pattern: str) -> None:
    with pytest.raises(DataError, match="regular expression") as caught:
        require_bounded(pattern)
    assert len(str(caught.value)) < 250
