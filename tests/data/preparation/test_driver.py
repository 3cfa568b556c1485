"""The cluster of Ray that runs the tasks: the one that is named, or one that obeys nobody else."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("datatrove")

from gptsmith.base import own_ray
from gptsmith.data.preparation import driver


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Ray is begun with."""
    found: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=lambda **options: found.append(options)))
    monkeypatch.setattr(own_ray, "sys", SimpleNamespace(modules={}))
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return found


def test_a_cluster_of_its_own_needs_a_secret(begun: list[dict[str, Any]]) -> None:
    driver._join_cluster()
    assert begun[0]["address"] == "local"
    assert begun[0]["_node_ip_address"] == "127.0.0.1"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_cluster_that_is_there_has_its_own_rules(
    begun: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    driver._join_cluster()
    assert begun[0]["address"] == "head:6379"
    assert "_node_ip_address" not in begun[0]
    assert "RAY_AUTH_MODE" not in os.environ
