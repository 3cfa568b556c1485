"""The reference model beside the one that is trained: the model before training, which stays as it is."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from gptsmith.model.gpt import GPT
from gptsmith.model.transform import initialize_from
from gptsmith.run.sharding import is_sharded, reshard, shard_number, sharded_from
from gptsmith.train.datasets.base import DatasetInputs


class ReferenceModel:
    """The model before training, kept as the trained one is: on its device, in its dtype, and in shards if that is."""

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
        model = self._beside(trained)
        _, log_likelihoods = model.token_log_likelihoods(model.hidden(input_ids), targets)
        reshard(model)
        return log_likelihoods

    def _beside(self, trained: GPT) -> GPT:
        if is_sharded(trained) and not is_sharded(self.model):
            reshard(trained)
            self.model = sharded_from(self.model, trained.device, trained.dtype, shard_number(trained)[1])
        elif not is_sharded(trained):
            self.model.to(trained.device)
            if trained.dtype == torch.float64:
                self.model.double()
            self.model.compute_dtype = trained.compute_dtype
        return self.model
