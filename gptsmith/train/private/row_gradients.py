"""The gradients of many units in one pass, where adapters alone are trained: each row of a batch has adapters of its
own, equal to the model's, and autograd gives the gradient of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.model.linear.lora import LoraLinear
from gptsmith.train.balance import expert_layers
from gptsmith.train.batch import Batch
from gptsmith.train.objectives import ObjectiveSettings

TOKENS_PER_PASS = 4_096
BYTES_PER_PASS = 256 << 20
"""Of the gradients of the rows of a pass, about."""
UNITS_SORTED = 256
"""Units that are sorted by their length, so that rows have little padding."""


def takes_rows(model: GPT, objective: ObjectiveSettings, batches: Sequence[Batch]) -> bool:
    """Whether the gradients of units like this one can be had so: adapters alone are trained, inside of blocks, whose
    rows do not meet; and the loss of a row is a single term, a mean over its targets."""
    adapters = {id(each) for layer in _adapted(model).values() for each in (layer.lora_a, layer.lora_b)}
    trained = {id(each) for each in model.parameters() if each.requires_grad}
    counts = [objective.counts(batch) for batch in batches]
    return (
        trained == adapters
        and not isinstance(model.head, LoraLinear)  # its loss reads the matrix
        and not expert_layers(model)
        and all(type(batch) is Batch for batch in batches)
        and all([*count.values()] == [batch.num_tokens] for count, batch in zip(counts, batches, strict=True))
    )


def unit_gradients(
    model: GPT, objective: ObjectiveSettings, units: Iterable[Sequence[Batch]]
) -> Iterator[dict[str, Tensor]]:
    """The gradients of the mean loss of each of some units, by the names of parameters: (U, ...) of some units at a
    time, which come in any order."""
    bytes_per_row = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    most_rows = max(1, BYTES_PER_PASS // bytes_per_row)
    for some in _passes(units, most_rows):
        rows = [batch for batches in some for batch in batches]
        owners = torch.tensor([unit for unit, batches in enumerate(some) for _ in batches], device=model.device)
        num_tokens = torch.tensor([max(1, sum(batch.num_tokens for batch in batches)) for batches in some])
        with rows_of_adapters(model, len(rows)) as leaves:
            terms = objective.loss(model, together(rows))
            torch.autograd.backward(torch.stack([term.sum * term.weight for term in terms.values()]).sum())
            found = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        yield {
            name: _mean(gradient, owners, num_tokens.to(gradient.device, gradient.dtype))
            for name, gradient in found.items()
        }


@contextmanager
def rows_of_adapters(model: GPT, num_rows: int) -> Iterator[Mapping[str, Tensor]]:
    """Gives each row of a batch adapters of its own in the block: leaves (B, ...), by the names of the parameters."""
    leaves: dict[str, Tensor] = {}
    layers = _adapted(model)
    try:
        for place, layer in layers.items():
            a, b = (
                parameter.detach().expand(num_rows, *parameter.shape).requires_grad_()
                for parameter in (layer.lora_a, layer.lora_b)
            )
            layer.of_rows = a, b
            leaves |= {f"{place}.lora_a": a, f"{place}.lora_b": b}
        yield leaves
    finally:
        for layer in layers.values():
            layer.of_rows = None


def together(rows: Sequence[Batch]) -> Batch:
    """Batches of single rows as one, padded on the right by what teaches nothing."""
    length = max(row.input_ids.shape[1] for row in rows)

    def padded(tensors: Iterable[Tensor], values: Iterable[int]) -> Tensor:
        return torch.cat([
            functional.pad(each, (0, length - each.shape[1]), value=value)
            for each, value in zip(tensors, values, strict=True)
        ])  # fmt: skip

    segments = [row.segments for row in rows if row.segments is not None]
    return Batch(
        padded((row.input_ids for row in rows), [0] * len(rows)),
        padded((row.targets for row in rows), [IGNORED] * len(rows)),
        padded(segments, [int(each.max()) + 1 for each in segments]) if segments else None,
    )


def _adapted(model: GPT) -> dict[str, LoraLinear]:
    return {place: module for place, module in model.named_modules() if isinstance(module, LoraLinear)}


def _passes(units: Iterable[Sequence[Batch]], most_rows: int) -> Iterator[list[Sequence[Batch]]]:
    """Units whose rows are read at once, of about one length."""
    waiting: list[Sequence[Batch]] = []
    for unit in units:
        waiting.append(unit)
        if len(waiting) == UNITS_SORTED:
            yield from _of_one_length(waiting, most_rows)
            waiting = []
    yield from _of_one_length(waiting, most_rows)


def _of_one_length(units: Sequence[Sequence[Batch]], most_rows: int) -> Iterator[list[Sequence[Batch]]]:
    some: list[Sequence[Batch]] = []
    num_rows = longest = 0
    for unit in sorted(units, key=_longest):
        longest = max(longest, _longest(unit))
        if some and ((num_rows + len(unit)) * longest > TOKENS_PER_PASS or num_rows + len(unit) > most_rows):
            yield some
            some, num_rows, longest = [], 0, _longest(unit)
        some.append(unit)
        num_rows += len(unit)
    if some:
        yield some


def _longest(unit: Sequence[Batch]) -> int:
    return max(batch.input_ids.shape[1] for batch in unit)


def _mean(gradient: Tensor, owners: Tensor, num_tokens: Tensor) -> Tensor:
    """The gradients (U, ...) of means, from those of the sums of rows (B, ...)."""
    units = gradient.new_zeros(len(num_tokens), *gradient.shape[1:]).index_add(0, owners, gradient)
    return units / num_tokens.view(-1, *[1] * (gradient.dim() - 1))
