"""Ray Serve takes the server's application as it is."""

from __future__ import annotations

import sys

import pytest

from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.serve.on_ray import app


def test_ray_serve_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"Ray Serve needs .*pip install 'ray\[serve\]'"):
        app({"runs": "runs/mine"})


def test_others_need_a_key() -> None:
    pytest.importorskip("ray.serve")
    with pytest.raises(UserError, match=r"--host 0\.0\.0\.0 can be reached from other machines: give --api-key-file"):
        app({"runs": "runs/mine", "host": "0.0.0.0"})
