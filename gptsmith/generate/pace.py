"""How much of prompts a step may read beside texts that are written, so that those do not stand still."""

from __future__ import annotations

from math import inf, sqrt

from gptsmith.model.config import GPTConfig


class Pace:
    """Learns what a step of so many texts takes and what each token of a prompt adds to it, and allows as many as keep a
    step within `pause_steps` usual ones.

    What a prompt adds is counted in tokens that look at nothing but themselves: one that looks at a thousand others
    counts for more, by what attention adds to the matrix products.
    """

    FIRST = 8
    """What is read where nothing is known yet."""
    WEIGHT = 0.2
    """How much the latest step says of the usual one."""
    PROMPT_WEIGHT = 0.5
    """How much the latest piece of a prompt says of the next."""
    ATTENTION_COST = 1.7
    """A product of attention takes this many times as long as one with a matrix."""

    def __init__(self, config: GPTConfig, pause_steps: float) -> None:
        self.pause_steps = pause_steps
        query_dim = config.num_heads * config.resolved_head_dim
        products = 2 * config.embed_dim * (query_dim + config.num_kv_heads * config.resolved_head_dim)
        products += 2 * config.embed_dim * config.feedforward.width(config)
        self.looking = self.ATTENTION_COST * 2 * query_dim / products
        """What a token counts for each one that it looks at."""
        self.usual_s: dict[int, float] = {}
        """Seconds of a step that reads no prompt, by the number of texts that are written."""
        self.token_s: dict[int, float] = {}
        """Seconds that a prompt's token adds, by the same number."""
        self.last_token_s: float | None = None

    def allowed(self, num_writing: int) -> float:
        """What all pieces of prompts in a step may count."""
        if not num_writing:
            return inf
        token_s = self.token_s.get(num_writing, self.last_token_s)
        if token_s is None or not self.usual_s:
            return self.FIRST
        return (self.pause_steps - 1) * self._usual_s(num_writing) / token_s

    def count(self, start: int, num_tokens: int) -> float:
        """What tokens of a prompt count that stand at the places from `start` on."""
        return num_tokens * (1 + self.looking * (start + num_tokens / 2))

    def num_tokens(self, start: int, allowed: float) -> float:
        """How many tokens from `start` on count as much as is allowed."""
        # allowed = n (1 + looking (start + n / 2)), solved for n.
        if allowed == inf:
            return allowed
        alone, each = 1 + self.looking * start, self.looking / 2
        return (sqrt(alone**2 + 4 * each * max(allowed, 0.0)) - alone) / (2 * each)

    def took(self, seconds: float, num_writing: int, counted: float) -> None:
        """Learns from a step whose pieces of prompts counted so much."""
        if not counted:
            usual_s = self.usual_s.get(num_writing, seconds)
            self.usual_s[num_writing] = (1 - self.WEIGHT) * usual_s + self.WEIGHT * seconds
            return
        if num_writing and not self.usual_s:
            return
        added_s = seconds - (self._usual_s(num_writing) if num_writing else 0.0)
        token_s = max(added_s, 1e-9) / counted
        known_s = self.token_s.get(num_writing, token_s)
        self.token_s[num_writing] = self.last_token_s = (
            1 - self.PROMPT_WEIGHT
        ) * known_s + self.PROMPT_WEIGHT * token_s

    def _usual_s(self, num_writing: int) -> float:
        """What is known of the nearest number of texts; fewer are not taken to be proportionally faster than they may
        be."""
        nearest = min(self.usual_s, key=lambda number: abs(number - num_writing))
        return self.usual_s[nearest] * min(1.0, num_writing / nearest)
