"""The training step: gradients over a whole batch, then one move of the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.run.sharding import is_sharded
from gptsmith.train.balance import NO_LOAD, ExpertLoad, LoadMeter, move_biases, training_counts, training_terms
from gptsmith.train.batch import Batch
from gptsmith.train.objectives import ObjectiveSettings
from gptsmith.train.optimizers import Optimizer
from gptsmith.train.stability import ACCEPTED, Judgement, gradient_norm, is_out_of_memory


@dataclass(frozen=True)
class StepResult:
    """What a step found, and whether it moved the weights.

    Attributes:
        loss: over the whole batch, in nats per item, before the move; None of private data, which it would tell of.
        gradient_norm: the Euclidean norm of all gradients, before clipping.
        num_tokens: tokens of the whole batch, over all processes.
        judgement: whether the step was accepted, and if not, what is wrong with it.
        lr_multiplier: the share of the full learning rates.
        load: how the tokens were shared among experts, if there are any.
    """

    loss: float | None
    gradient_norm: float
    num_tokens: int
    judgement: Judgement
    lr_multiplier: float
    load: ExpertLoad = NO_LOAD


class StepOutOfMemoryError(Exception):
    """Memory ran out in the forward or backward pass of any process: raised on all of them.

    Attributes:
        may_retry: whether all processes can try again with smaller micro-batches.
    """

    def __init__(self, may_retry: bool = True) -> None:
        super().__init__("out of memory")
        self.may_retry = may_retry


def train_step(
    model: GPT,
    objective: ObjectiveSettings,
    optimizer: Optimizer,
    batches: Sequence[Batch],
    lr_multiplier: float,
    processes: Processes = SINGLE_PROCESS,
    judge: Callable[[float, float], Judgement] = lambda loss, norm: ACCEPTED,
    max_gradient_norm: float | None = None,
) -> StepResult:
    """Moves the weights along the gradient over all `batches` of all processes, if `judge` accepts loss and norm.

    The gradients of a rejected step stay as they are, for whoever looks for the fault.

    Args:
        max_gradient_norm: gradients of a larger norm are scaled down to it (Pascanu et al. 2013); None clips nothing.

    Raises:
        StepOutOfMemoryError: memory ran out; no gradient is left.
    """
    meter = LoadMeter(model)
    loss, num_tokens = backward(model, objective, batches, processes, meter)
    norm = gradient_norm(model)
    judgement = judge(loss, norm)
    if judgement == ACCEPTED:
        if max_gradient_norm is not None and norm > max_gradient_norm:
            scale_gradients(model, max_gradient_norm / norm)
        optimizer.step(lr_multiplier)
        move_biases(model, meter.load())
    return StepResult(loss, norm, num_tokens, judgement, lr_multiplier, meter.load())


def scale_gradients(model: GPT, factor: float) -> None:
    """Multiplies every gradient by a number."""
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.mul_(factor)


def backward(
    model: GPT,
    objective: ObjectiveSettings,
    batches: Sequence[Batch],
    processes: Processes = SINGLE_PROCESS,
    meter: LoadMeter | None = None,
) -> tuple[float, int]:
    """Sets the gradients to those of the loss over the batches of all processes; returns that loss and their tokens.

    Args:
        meter: counts the tokens of each expert, of all processes.

    Raises:
        StepOutOfMemoryError: memory ran out in any process; no gradient is left.
    """
    loss, ran_out, meter = 0.0, False, meter or LoadMeter(model)
    try:
        loss = accumulate(model, objective, batches, processes, meter)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        ran_out = True
    if ran_out and is_sharded(model):
        # The other processes wait within the pass for what this one will never send.
        raise StepOutOfMemoryError(may_retry=False)
    num_tokens = sum(batch.num_tokens for batch in batches)
    loss, num_ran_out, total_tokens, *counts = processes.all_reduce_sum([loss, ran_out, num_tokens, *meter.flat()])
    meter.set_flat(counts)
    if num_ran_out:
        for parameter in model.parameters():
            parameter.grad = None
        raise StepOutOfMemoryError
    processes.all_reduce_gradients(model)
    return loss, int(total_tokens)


def accumulate(
    model: GPT,
    objective: ObjectiveSettings,
    batches: Sequence[Batch],
    processes: Processes = SINGLE_PROCESS,
    meter: LoadMeter | None = None,
) -> float:
    """Adds the gradient of the loss over all `batches` together, and returns that loss in nats per item.

    Sums are divided by the counts of all batches, those of other processes too, so that any division into batches and
    processes gives the same gradient. With several processes, loss and gradient are this one's share of the sum.

    Args:
        meter: counts the tokens of each expert in these batches.
    """
    totals: Counter[str] = Counter()
    for batch in batches:
        totals.update(training_counts(model, objective, batch))
    num_items = dict(zip(totals, processes.all_reduce_sum(totals.values()), strict=True))
    loss = 0.0
    for batch in batches:
        terms = training_terms(model, objective, batch, meter)
        share = torch.stack([term.sum * (term.weight / max(num_items[name], 1)) for name, term in terms.items()]).sum()
        torch.autograd.backward(share)
        loss += share.item()
    for parameter in model.parameters():
        # A tied embedding's gradient is sparse until the output layer's is added, which a loss of scores never uses.
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.to_dense()
    return loss
