"""The prefill budget: how much of prompts a step may read, so that sequences that are decoded do not stall."""

from __future__ import annotations

from math import inf, sqrt

from gptsmith.model.config import GPTConfig


class PrefillBudget:
    """Learns how long steps take, and allows so much of prompts that a step takes `max_prefill_slowdown` usual ones.

    The unit of cost is a token that attends to nothing but itself: one that attends to a thousand others costs more, by
    the share of attention beside the matrix products. The first tokens beside sequences may take no time, because a
    step reads every weight anyway; none takes more than in a step that reads a prompt alone. So from one step to the
    next as many are added as would fit at that time per token.
    """

    FIRST = 8.0
    """The allowance while the time per token of a prompt is not known yet."""
    WEIGHT = 0.2
    """The weight of the latest step in the averages."""
    ATTENTION_COST = 1.7
    """A product of attention takes so many times as long as one with a matrix."""

    def __init__(self, config: GPTConfig, max_prefill_slowdown: float) -> None:
        self.max_prefill_slowdown = max_prefill_slowdown
        query_dim = config.num_heads * config.resolved_head_dim
        products = 2 * config.embed_dim * (query_dim + config.num_kv_heads * config.resolved_head_dim)
        products += 2 * config.embed_dim * config.feedforward.active_width(config.dims)
        self._attention_cost = self.ATTENTION_COST * 2 * query_dim / products
        """The cost of a token for each one that it attends to."""
        self._usual_s: dict[int, float] = {}
        """Seconds of a step that reads no prompt, by the number of sequences that are decoded."""
        self._last: dict[int, tuple[float, float]] = {}
        """The cost of the last step that read a prompt, and its seconds, by the same number."""
        self._alone = (0.0, 0.0)
        """The cost of steps that read prompts alone, and their seconds; older ones fade."""

    def allowance(self, num_decoding: int) -> float:
        """The most that all chunks of prompts in a step may cost: nothing until a step without any has shown how long
        a usual one takes. Where prompts always wait there would never be one."""
        if not num_decoding or self.max_prefill_slowdown == inf:
            return inf
        if not self._usual_s:
            return 0.0
        usual_s = self._usual(num_decoding)
        cost, seconds = self._last.get(num_decoding, (0.0, usual_s))
        token_s = self._token_s(cost, seconds - usual_s)
        return self.FIRST if token_s == 0 else cost + (self.max_prefill_slowdown * usual_s - seconds) / token_s

    def cost(self, start: int, num_tokens: int) -> float:
        """The cost of a prompt's tokens at the positions from `start` on."""
        return num_tokens * (1 + self._attention_cost * (start + num_tokens / 2))

    def num_tokens(self, start: int, allowed: float) -> float:
        """How many tokens from position `start` on may be read at that cost."""
        if allowed == inf:
            return allowed
        # n (1 + attention_cost (start + n / 2)) = allowed
        alone = 1 + self._attention_cost * start
        return (sqrt(alone**2 + 2 * self._attention_cost * max(allowed, 0.0)) - alone) / self._attention_cost

    def observe(self, seconds: float, num_decoding: int, cost: float) -> None:
        """Learns from a step of so many sequences whose chunks of prompts had that cost."""
        if cost and num_decoding:
            self._last[num_decoding] = cost, seconds
        elif cost:
            before, before_s = self._alone
            self._alone = (1 - self.WEIGHT) * before + cost, (1 - self.WEIGHT) * before_s + seconds
        else:
            usual_s = self._usual_s.get(num_decoding, seconds)
            self._usual_s[num_decoding] = (1 - self.WEIGHT) * usual_s + self.WEIGHT * seconds

    def _token_s(self, cost: float, added_s: float) -> float:
        """Seconds that one more token of a prompt adds at most, or 0 if that is not known."""
        alone, alone_s = self._alone
        return max(alone_s / alone if alone else 0.0, added_s / cost if cost else 0.0)

    def _usual(self, num_decoding: int) -> float:
        """Seconds of a usual step, of no more than are known of the nearest number of sequences."""
        nearest = min(self._usual_s, key=lambda number: abs(number - num_decoding))
        return self._usual_s[nearest] * min(1.0, num_decoding / nearest)
