"""A model that can be asked for, loaded or not."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from gptsmith.model.cost import cost
from gptsmith.serve.errors import ApiError
from gptsmith.serve.load import ModelDescription, iso_time
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.settings import ServeSettings

OWNER = "gptsmith"
ModelState = Literal["loaded", "loading", "unloaded", "failed"]
STATES: tuple[ModelState, ...] = ("loaded", "loading", "unloaded", "failed")


@dataclass
class ModelEntry:
    """A model of a server.

    Attributes:
        about: what is known of it.
        served: it with its engine; None unless it is loaded.
        is_pinned: whether it stays loaded as long as the server: it was named, and is in no folder of models.
        keep_s: how long it stays loaded after its last request; negative for as long as the server.
        loading: the task that loads it; it gives the error if it fails.
        num_waiting: requests that wait until it is loaded.
        failure: why it could not be loaded the last time; empty if it could.
        last_used: when a request used it, by the clock of the loop.
        num_loads, num_failures: how often it was loaded, and could not be.
        load_s: how long the last load took, in seconds.
    """

    about: ModelDescription
    served: ServedModel | None = None
    is_pinned: bool = False
    keep_s: float = math.inf
    loading: asyncio.Task[ApiError | None] | None = None
    num_waiting: int = 0
    failure: str = ""
    last_used: float = 0.0
    num_loads: int = 0
    num_failures: int = 0
    load_s: float = 0.0
    _timer: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.about.name

    @property
    def state(self) -> ModelState:
        if self.served is not None:
            return "loaded"
        return "loading" if self.loading is not None else "failed" if self.failure else "unloaded"

    @property
    def is_busy(self) -> bool:
        """Whether requests use it or wait for it."""
        return self.num_waiting > 0 or (self.served is not None and self.served.num_reserved > 0)

    @property
    def unloads_in_s(self) -> float:
        """The seconds until it is unloaded if no request comes; infinite if it stays."""
        if self.is_pinned or self.keep_s < 0 or math.isinf(self.keep_s):
            return math.inf
        return max(0.0, self.last_used + self.keep_s - asyncio.get_running_loop().time())

    def used(self, unload: Callable[[ModelEntry], None]) -> None:
        """Says that a request has come or ended: `unload` is called when none has come for long enough."""
        loop = asyncio.get_running_loop()
        self.last_used = loop.time()
        self.stop_timer()
        if math.isfinite(self.unloads_in_s):
            self._timer = loop.call_later(self.keep_s, unload, self)

    def stop_timer(self) -> None:
        """Leaves it loaded."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def context_length(self) -> int:
        """The most tokens of a sequence: the model's own, unless it is loaded and there is memory for fewer."""
        return self.about.config.context_length if self.served is None else self.served.context_length

    def card(self, settings: ServeSettings) -> dict[str, Any]:
        """The model as the API lists it."""
        about, config = self.about, self.about.config
        return {
            "id": self.name,
            "object": "model",
            "created": about.made,
            "owned_by": OWNER,
            "gptsmith": {
                "state": self.state,
                "failure": self.failure or None,
                "kind": about.kind,
                "labels": about.labels,
                "context_length": self.context_length,
                "num_parameters": cost(config).num_parameters,
                "vocab_size": config.vocab_size,
                "trained_on": about.trained_on,
                "made": iso_time(about.made),
                "prompts": about.prompts,
                "sampling": about.sampling,
                "max_choices": min(settings.max_choices, settings.max_sequences),
                "max_tokens": settings.max_tokens,
                "end_tokens": about.end_tokens,
            },
        }
