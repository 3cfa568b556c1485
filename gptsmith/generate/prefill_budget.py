"""How much of prompts a step may read beside texts that are written, so that those do not stand still."""

from __future__ import annotations

from math import inf, sqrt

from gptsmith.model.config import GPTConfig


class PrefillBudget:
    """Learns what steps take, and allows as much of prompts as keeps a step within `max_prefill_slowdown` usual ones.

    What a prompt adds is counted in tokens that look at nothing but themselves: one that looks at a thousand others
    counts for more, by what attention adds to the matrix products. The first tokens beside texts may cost nothing,
    because a step reads every weight anyway; none costs more than in a step that reads a prompt alone. So from one step
    to the next as many are added as would fit at that cost.
    """

    FIRST = 8.0
    """What is allowed where nothing is known yet."""
    WEIGHT = 0.2
    """How much the latest step says of the usual one, and of a prompt alone."""
    ATTENTION_COST = 1.7
    """A product of attention takes so many times as long as one with a matrix."""

    def __init__(self, config: GPTConfig, max_prefill_slowdown: float) -> None:
        self.max_prefill_slowdown = max_prefill_slowdown
        query_dim = config.num_heads * config.resolved_head_dim
        products = 2 * config.embed_dim * (query_dim + config.num_kv_heads * config.resolved_head_dim)
        products += 2 * config.embed_dim * config.feedforward.width(config.dims)
        self._looking = self.ATTENTION_COST * 2 * query_dim / products
        """What a token counts for each one that it looks at."""
        self._usual_s: dict[int, float] = {}
        """Seconds of a step that reads no prompt, by the number of texts that are written."""
        self._last: dict[int, tuple[float, float]] = {}
        """What the last step that read a prompt counted, and its seconds, by the same number."""
        self._alone = (0.0, 0.0)
        """What steps counted that read prompts alone, and their seconds; older ones fade."""

    def tokens_allowed(self, num_writing: int) -> float:
        """What all pieces of prompts in a step may count."""
        if not num_writing:
            return inf
        if not self._usual_s:
            return self.FIRST
        usual_s = self._usual(num_writing)
        counted, seconds = self._last.get(num_writing, (0.0, usual_s))
        token_s = self._token_s(counted, seconds - usual_s)
        return self.FIRST if token_s == 0 else counted + (self.max_prefill_slowdown * usual_s - seconds) / token_s

    def count(self, start: int, num_tokens: int) -> float:
        """What tokens of a prompt count that stand at the places from `start` on."""
        return num_tokens * (1 + self._looking * (start + num_tokens / 2))

    def num_tokens(self, start: int, allowed: float) -> float:
        """How many tokens from `start` on count as much as is allowed."""
        if allowed == inf:
            return allowed
        # n (1 + looking (start + n / 2)) = allowed
        alone = 1 + self._looking * start
        return (sqrt(alone**2 + 2 * self._looking * max(allowed, 0.0)) - alone) / self._looking

    def observe(self, seconds: float, num_writing: int, counted: float) -> None:
        """Learns from a step whose pieces of prompts counted so much."""
        if counted and num_writing:
            self._last[num_writing] = counted, seconds
        elif counted:
            before, before_s = self._alone
            self._alone = (1 - self.WEIGHT) * before + counted, (1 - self.WEIGHT) * before_s + seconds
        else:
            usual_s = self._usual_s.get(num_writing, seconds)
            self._usual_s[num_writing] = (1 - self.WEIGHT) * usual_s + self.WEIGHT * seconds

    def _token_s(self, counted: float, added_s: float) -> float:
        """Seconds that one more token of a prompt adds at most, or 0 where that is not known."""
        alone, alone_s = self._alone
        return max(alone_s / alone if alone else 0.0, added_s / counted if counted else 0.0)

    def _usual(self, num_writing: int) -> float:
        """Seconds of a usual step, of no more than are known of the nearest number of texts."""
        nearest = min(self._usual_s, key=lambda number: abs(number - num_writing))
        return self._usual_s[nearest] * min(1.0, num_writing / nearest)
