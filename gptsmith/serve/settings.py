"""The bounds within which people may use a server."""

from __future__ import annotations

from pydantic import Field

from gptsmith.base.settings import Settings
from gptsmith.generate.settings import EngineSettings


class ServeSettings(Settings):
    """How a server answers, and whom."""

    max_num_seqs: int = EngineSettings().max_num_seqs
    """Texts that each model writes at the same time; others wait."""
    max_queue_size: int = EngineSettings().max_queue_size
    """Texts that may wait for each model; more are refused."""
    max_choices: int = Field(default=16, gt=0)
    """Texts that one request may ask for: its prompts times n, or times best_of."""
    max_inputs: int = Field(default=256, gt=0)
    """Texts whose embeddings one request may ask for."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Tokens that one text may have; the model's context alone bounds it where this is not given."""
    max_body_bytes: int = Field(default=2_000_000, gt=0)
    """The longest body that is read."""
    timeout_s: float = Field(default=600.0, gt=0)
    """The longest that a text may take; what there is of it then is the answer."""
    body_timeout_s: float = Field(default=30.0, gt=0)
    """The longest that a request may take to arrive."""
    stall_timeout_s: float = Field(default=60.0, gt=0)
    """The longest that a client may take in nothing of what waits for it; then its connection is cut."""
    ping_s: float = Field(default=15.0, gt=0)
    """A stream says that it lives after so long a silence."""
    drain_s: float = Field(default=30.0, ge=0)
    """How long running requests may go on after SIGTERM."""
    cors: tuple[str, ...] = ()
    """Origins, such as https://example.org, whose pages may ask."""
    hosts: tuple[str, ...] = ()
    """Names that the server may be asked for by, besides its addresses and this machine's names."""

    @property
    def max_sequences(self) -> int:
        """Texts that may be asked of each model at once."""
        return self.max_num_seqs + self.max_queue_size

    def engine(self) -> EngineSettings:
        """What of it each engine keeps to."""
        return EngineSettings(max_num_seqs=self.max_num_seqs, max_queue_size=self.max_queue_size)
