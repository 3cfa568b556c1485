"""Limits of a server."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from gptsmith.base.settings import Settings
from gptsmith.base.verbs import Size
from gptsmith.generate.settings import EngineName, EngineSettings, KVCacheDtype

ANY_ORIGIN = "*"
DEFAULT_PORTS = {"http": 80, "https": 443}


class ServeSettings(Settings):
    """Limits of a server, and the hosts and origins that may use it."""

    replicas: int = Field(default=1, gt=0)
    """Processes that serve the models, as one server."""
    engine: EngineName = "auto"
    """auto, torch or native (compiled code: gptsmith[native])."""
    max_num_seqs: int = EngineSettings().max_num_seqs
    """Sequences that each model decodes at once."""
    max_queue_size: int = EngineSettings().max_queue_size
    """Sequences that may wait for each model."""
    kv_cache_memory: Size | None = None
    """Memory for all KV caches (4GB); by default 3/4 of the free."""
    kv_cache_dtype: KVCacheDtype = EngineSettings().kv_cache_dtype
    """Numbers in KV caches: as computed, or int8."""
    keep_loaded_s: float = 300.0
    """Seconds that a model of a folder stays when idle; -1: always."""
    max_choices: int = Field(default=16, gt=0)
    """Sequences per prompt: n, or best_of."""
    max_inputs: int = Field(default=256, gt=0)
    """Texts that one embeddings request may have."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Tokens per sequence; by default, up to the context."""
    no_recital: int | None = Field(default=None, ge=2)
    """Write no N tokens in a row of training texts, unless prompted."""
    max_body_bytes: int = Field(default=2_000_000, gt=0)
    """The longest request body, in bytes."""
    max_stored_bytes: int = Field(default=64_000_000, ge=0)
    """Memory for the responses that a next request can refer to, in bytes; 0 stores none."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Seconds per sequence; the text so far is then the answer."""
    body_timeout_s: float = Field(default=30.0, gt=0)
    """The longest that a request may take to arrive."""
    stall_timeout_s: float = Field(default=60.0, gt=0)
    """The longest that a client may read nothing while data waits for it; then it is disconnected."""
    ping_s: float = Field(default=15.0, gt=0)
    """A stream sends a keep-alive after this much silence, in seconds."""
    drain_s: float = Field(default=30.0, ge=0)
    """Seconds for running requests after SIGTERM."""
    keep_alive_s: float = Field(default=5.0, gt=0)
    """Seconds that an idle connection is kept."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may send requests (CORS), or *."""
    hosts: tuple[str, ...] = ()
    """Host names of this server, as a proxy's, besides its own."""

    @field_validator("cors")
    @classmethod
    def _normalize_origins(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_origin, given))

    @property
    def max_sequences(self) -> int:
        """Sequences that each model accepts at once."""
        return self.max_num_seqs + self.max_queue_size

    def engine_settings(self, kv_cache_bytes: int | None) -> EngineSettings:
        """The settings of an engine, whose KV cache has so much memory."""
        return EngineSettings(
            engine=self.engine,
            max_num_seqs=self.max_num_seqs,
            max_queue_size=self.max_queue_size,
            kv_cache_bytes=kv_cache_bytes,
            kv_cache_dtype=self.kv_cache_dtype,
        )


def _origin(given: str) -> str:
    """An origin as browsers send it: without a slash at the end and without its scheme's own port.

    Raises:
        ValueError: it is none.
    """
    if given == ANY_ORIGIN:
        return given
    problem = f"{given} is no origin: give one such as https://example.org or http://localhost:3000, or * for any"
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        raise ValueError(problem) from None
    if not (parts.scheme and parts.hostname) or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(problem)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{port}")
