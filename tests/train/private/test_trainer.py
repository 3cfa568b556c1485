"""Settings of private training, and the trainers that may follow them."""

from __future__ import annotations

from typing import cast

import pytest

from gptsmith.base.errors import UserError
from gptsmith.run.folder import Run
from gptsmith.train.datasets.base import Dataset
from gptsmith.train.private.trainer import new_trainer
from gptsmith.train.run_settings import RunSettings
from gptsmith.train.trainer import Trainer


def test_no_other_trainer_takes_private_settings() -> None:
    shape = {"vocab_size": 16, "embed_dim": 8, "num_layers": 1, "num_heads": 1, "context_length": 8}
    train = {"num_steps": 1, "batch_size": 1, "private": {"epsilon": 8.0}}
    settings = RunSettings.parse({"request": {"sources": ["a.txt"]}, "model": shape, "train": train})
    run, dataset = cast(Run, None), cast(Dataset, None)  # neither is looked at
    for begin in (Trainer, new_trainer):
        with pytest.raises(UserError, match="this training is not private"):
            begin(run, settings, dataset)
