"""Ray Serve: `serve run gptsmith.serve.on_ray:app runs=runs/mine` answers with replicas on the hosts of a cluster."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette

from gptsmith.base.errors import MissingExtraError
from gptsmith.serve.app import make_app
from gptsmith.serve.opening import open_state, requested_keys
from gptsmith.serve.request import ServeRequest


def app(arguments: dict[str, Any]) -> Any:
    """The application for Ray Serve, whose proxy listens: each replica is a server as `serve` starts it, but for the
    port.

    Args:
        arguments: those of `gptsmith.serve`; `replicas` is how many there are at first.

    Raises:
        MissingExtraError: Ray Serve is not installed.
        UserError: an argument is unknown or not allowed, or others could use it without a key.
    """
    try:
        from ray import serve
    except ImportError:
        raise MissingExtraError("Ray Serve", "ray[serve]") from None
    request = ServeRequest.parse(arguments, "gptsmith.serve.on_ray:app")
    requested_keys(request)

    def make_replica() -> Starlette:
        return make_app(open_state(request, requested_keys(request)))

    deployment: Any = serve.deployment(serve.ingress(make_replica)(), name="gptsmith", num_replicas=request.replicas)
    return deployment.bind()
