"""The reference model beside the one that is trained: the model before training, which stays as it is."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from gptsmith.model.gpt import GPT
from gptsmith.model.transform import initialize_from
from gptsmith.run.sharding import reshard
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.beside import beside


class ReferenceModel:
    """The model before training, beside the one that is trained."""

    def __init__(self, inputs: DatasetInputs) -> None:
        before = inputs.model
        # A model that stays as it is can be mapped into memory from files: its weights are there once.
        model = (
            initialize_from(before, before.config, seed=0, shares_all=True)
            if inputs.is_shared
            else copy.deepcopy(before)
        )
        self.model = model.eval().requires_grad_(False)

    @torch.no_grad()
    def token_log_likelihoods(self, trained: GPT, input_ids: Tensor, targets: Tensor) -> Tensor:
        """ln p(target) of each of `targets` (B, T) that is not -100, row by row, for the tokens (B, T) before them. If
        the trained model is sharded, all processes must call this."""
        self.model = beside(self.model, trained)
        _, log_likelihoods = self.model.token_log_likelihoods(self.model.hidden(input_ids), targets)
        reshard(self.model)
        return log_likelihoods
