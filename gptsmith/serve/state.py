"""The state that all requests of one server share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gptsmith.serve.auth import ApiKeys
from gptsmith.serve.hosts import AllowedHosts, is_loopback
from gptsmith.serve.metrics import Metrics, RequestMetrics
from gptsmith.serve.openai.stored_responses import StoredResponses
from gptsmith.serve.served_models import ServedModels
from gptsmith.serve.settings import ServeSettings
from gptsmith.serve.static import PageFiles


class ServerState(Protocol):
    """What every server keeps, whether it has the models itself or passes requests on.

    Attributes:
        settings: its limits.
        keys: the keys that it accepts; None if it needs none.
        hosts: the names that it answers to.
        is_draining: whether it is shutting down and takes no new requests.
        num_active_requests: requests that are being answered.
    """

    settings: ServeSettings
    keys: ApiKeys | None
    hosts: AllowedHosts
    is_draining: bool
    num_active_requests: int

    @property
    def metrics(self) -> RequestMetrics:
        """Counts and times of its requests."""

    @property
    def host(self) -> str:
        """The address that it is bound to."""

    def cancel_all(self) -> None:
        """Ends every text that is being written."""

    def has_ended(self, timeout_s: float) -> bool:
        """Whether all its threads end within this time, after it has served."""


@dataclass
class State:
    """The models, settings and counts of one server.

    Attributes:
        host: the address that it is bound to.
        keys: the keys that it accepts; None if it needs none.
        page: the files of the chat page.
        shares_sources: whether others than this machine may see the texts that its models learnt from.
        is_draining: whether it is shutting down and takes no new requests.
        num_active_requests: requests that are being answered.
        replica: its number among the processes that serve the same models; None if it is the only one.
        stored: responses that a request can refer to.
    """

    models: ServedModels
    settings: ServeSettings
    host: str = "127.0.0.1"
    keys: ApiKeys | None = None
    page: PageFiles = field(default_factory=PageFiles)
    shares_sources: bool = False
    is_draining: bool = False
    num_active_requests: int = 0
    replica: int | None = None
    metrics: Metrics = field(init=False)
    hosts: AllowedHosts = field(init=False)
    stored: StoredResponses = field(init=False)

    @property
    def shows_sources(self) -> bool:
        """Whether those who reach the server may see the texts that its models learnt from: people on this machine, and
        others only if that was allowed."""
        return self.shares_sources or (is_loopback(self.host) and not self.settings.hosts)

    def cancel_all(self) -> None:
        """Ends every text that is being written."""
        self.models.cancel_all()

    def has_ended(self, timeout_s: float) -> bool:
        """Whether all its threads end within this time, after it has served."""
        return self.models.workers.has_ended(timeout_s)

    def close(self) -> None:
        """Ends what works for requests."""
        self.models.close()

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.metrics.watch(self.models)
        self.stored = StoredResponses(self.settings.max_stored_bytes, self.replica)
        self.hosts = AllowedHosts(self.host, self.settings.hosts)
