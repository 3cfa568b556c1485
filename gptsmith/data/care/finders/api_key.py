"""Keys and tokens of programs: those with a known prefix, and random text that is assigned to such a name."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.care.finders import FinderSettings, Span

KNOWN = re.compile(
    r"(?<![\w-])(?:"
    r"A(?:KIA|SIA)[A-Z2-7]{16}"  # AWS
    r"|AIza[\w-]{35}|ya29\.[\w-]{30,200}"  # Google
    r"|gh[opsur]_[A-Za-z0-9]{36,255}|github_pat_\w{40,120}|glpat-[\w-]{20,40}"  # GitHub, GitLab
    r"|sk-(?:ant-|proj-|or-v1-)?[\w-]{32,200}|hf_[A-Za-z0-9]{30,50}|gsk_[A-Za-z0-9]{40,60}"  # model providers
    r"|xox[abeprs]-[\w-]{20,250}|[rs]k_live_[A-Za-z0-9]{20,100}|SG\.[\w-]{16,32}\.[\w-]{32,64}"  # Slack and others
    r"|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,250}|dop_v1_[a-f0-9]{64}"  # npm, PyPI, DigitalOcean
    r"|eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,1000}"  # JSON web tokens
    r")(?![\w-])"
)
PREFIXES = (
    "AKIA", "ASIA", "AIza", "ya29.", "gho_", "ghp_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "sk-", "hf_",
    "gsk_", "xox", "sk_live_", "rk_live_", "SG.", "npm_", "pypi-AgE", "dop_v1_", "eyJ",
)  # fmt: skip
"""How the known ones begin."""
ASSIGNED = re.compile(
    r"[kKtTsSpP](?:ey|EY|oken|OKEN|ecret|ECRET|assw(?:or)?d|ASSW(?:OR)?D|wd|WD)"  # of api_key, TOKEN, password, ...
    r"[\"']?\s{0,3}(?::|=|:=|=>)\s{0,3}[\"']?([A-Za-z0-9+/_=.~!@#$%^&*-]{11,199}[A-Za-z0-9=])"
)
RANDOM_BITS = 3.4
"""Per character: words and paths have less."""


class ApiKeySettings(FinderSettings):
    """`AKIA...`, `ghp_...`, and `api_key = "Zr8..."`."""

    kind: Literal["api_key"] = "api_key"
    noun: ClassVar[str] = "API keys"
    is_secret: ClassVar[bool] = True

    def find(self, text: str) -> Iterator[Span]:
        spans = [match.span() for start in _occurrences(text) if (match := KNOWN.match(text, start))]
        spans += [match.span(1) for match in ASSIGNED.finditer(text) if _is_random(match[1])]
        end = 0
        for start, stop in sorted(spans):
            if start >= end:
                yield start, stop
                end = stop


def _occurrences(text: str) -> Iterator[int]:
    """Where a prefix of a known key stands."""
    for prefix in PREFIXES:
        start = text.find(prefix)
        while start >= 0:
            yield start
            start = text.find(prefix, start + 1)


def _is_random(text: str) -> bool:
    """Whether a text looks drawn by chance: of letters and digits, each about as often as any other."""
    counts = Counter(text)
    bits = -sum(count * math.log2(count / len(text)) for count in counts.values()) / len(text)
    kinds = (str.isdecimal, str.islower, str.isupper)
    return bits >= RANDOM_BITS and sum(any(map(is_kind, text)) for is_kind in kinds) >= 2
