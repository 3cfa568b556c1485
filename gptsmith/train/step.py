"""One step of training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.batch import Batch
from gptsmith.train.objectives import ObjectiveSettings
from gptsmith.train.optimizers import Optimizer


def accumulate(
    model: GPT, objective: ObjectiveSettings, batches: Sequence[Batch], processes: Processes = SINGLE_PROCESS
) -> float:
    """Adds the gradient of the loss over all `batches` together, and returns that loss in nats an item.

    Sums are divided by the counts of all batches, those of other processes too, so that any division into batches and
    processes gives the same gradient. With several processes, loss and gradient are this one's share of the sum.
    """
    totals: Counter[str] = Counter()
    for batch in batches:
        totals.update(objective.counts(batch))
    num_items = dict(zip(totals, processes.all_reduce_sum(totals.values()), strict=True))
    loss = 0.0
    for batch in batches:
        terms = objective.loss(model, batch)
        share = torch.stack([term.sum * (term.weight / max(num_items[name], 1)) for name, term in terms.items()]).sum()
        torch.autograd.backward(share)
        loss += share.item()
    return loss


def train_step(
    model: GPT, objective: ObjectiveSettings, optimizer: Optimizer, batches: Sequence[Batch], lr_multiplier: float
) -> float:
    """Moves the model by the gradient over all `batches`; returns their loss in nats an item, before the move."""
    loss = accumulate(model, objective, batches)
    optimizer.step(lr_multiplier)
    return loss
