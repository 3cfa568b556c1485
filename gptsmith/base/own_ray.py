"""A cluster of Ray that this process starts for itself: nobody else may use it."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from typing import Any

OPTIONS: Mapping[str, Any] = {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
"""Of `ray.init`."""


def require_secret() -> None:
    """Sets a secret for a cluster that will be started, unless one is set or Ray is imported already: Ray listens on
    every interface, and obeys whoever calls. The secret is in this process and its children, and written nowhere."""
    if "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
