"""Transformers as a backend leaves the process as it was."""

from __future__ import annotations

import os

import pytest
import torch
from huggingface_hub import constants, is_offline_mode
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from transformers.utils import logging

from gptsmith.convert.backends.transformers import quiet


def state() -> tuple[object, ...]:
    """All that `quiet` may touch, in the process and for its children."""
    bars = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    return dict(os.environ), is_offline_mode(), logging.get_verbosity(), bars, torch.get_num_threads()


@pytest.mark.parametrize("is_offline", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_no_network_holds_for_the_block_alone(monkeypatch: pytest.MonkeyPatch, is_offline: bool, fails: bool) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
    before = state()
    try:
        with quiet():
            assert is_offline_mode()
            assert dict(os.environ) == before[0]
            assert not logging.is_progress_bar_enabled()
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert state() == before
