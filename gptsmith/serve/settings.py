"""Limits of a server."""

from __future__ import annotations

from pydantic import Field

from gptsmith.base.settings import Settings
from gptsmith.generate.settings import EngineSettings


class ServeSettings(Settings):
    """Limits of a server, and the hosts and origins that may use it."""

    max_num_seqs: int = EngineSettings().max_num_seqs
    """Sequences that each model decodes at the same time; others wait."""
    max_queue_size: int = EngineSettings().max_queue_size
    """Sequences that may wait for each model; more are refused."""
    max_choices: int = Field(default=16, gt=0)
    """Sequences per prompt: n, or best_of."""
    max_inputs: int = Field(default=256, gt=0)
    """Texts that one embeddings request may have."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Tokens per sequence. By default only the model's context limits them."""
    max_body_bytes: int = Field(default=2_000_000, gt=0)
    """The longest request body, in bytes."""
    timeout_s: float = Field(default=600.0, gt=0)
    """The longest time per sequence, in seconds; the text so far is then the answer."""
    body_timeout_s: float = Field(default=30.0, gt=0)
    """The longest that a request may take to arrive."""
    stall_timeout_s: float = Field(default=60.0, gt=0)
    """The longest that a client may read nothing while data waits for it; then it is disconnected."""
    ping_s: float = Field(default=15.0, gt=0)
    """A stream sends a keep-alive after this much silence, in seconds."""
    drain_s: float = Field(default=30.0, ge=0)
    """The time that running requests have after SIGTERM, in seconds."""
    cors: tuple[str, ...] = ()
    """Origins, such as https://example.org, whose pages may send requests (CORS)."""
    hosts: tuple[str, ...] = ()
    """Host names that requests may use, besides the server's addresses and this machine's names."""

    @property
    def max_sequences(self) -> int:
        """Sequences that each model accepts at once."""
        return self.max_num_seqs + self.max_queue_size

    def engine(self) -> EngineSettings:
        """The settings of each engine."""
        return EngineSettings(max_num_seqs=self.max_num_seqs, max_queue_size=self.max_queue_size)
