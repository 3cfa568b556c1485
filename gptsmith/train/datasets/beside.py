"""Models that stay as they are beside the one that is trained: reference models and teachers."""

from __future__ import annotations

import torch

from gptsmith.model.gpt import GPT
from gptsmith.run.sharding import is_sharded, reshard, shard_number, sharded_from


def beside(model: GPT, trained: GPT) -> GPT:
    """The model on the device of the trained one and in its dtype, and in shards if that is in shards: then all
    processes must call this, and compute the model together."""
    if is_sharded(model):
        return model
    if is_sharded(trained):
        reshard(trained)
        return sharded_from(model, trained.device, trained.dtype, shard_number(trained)[1])
    model.to(trained.device)
    if trained.dtype == torch.float64:
        model.double()
    model.compute_dtype = trained.compute_dtype
    return model
