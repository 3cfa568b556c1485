"""The place of a fault: the layer, the batch and the document at which numbers stop being finite."""

from __future__ import annotations

import torch

from gptsmith.train.batch import Batch
from gptsmith.train.stability import nonfinite_modules, nonfinite_parameters
from gptsmith.train.trainer import Trainer


def diagnosis(trainer: Trainer, batches: list[Batch]) -> str:
    """The samples and their documents, the first layer and the parameter that are not finite, as far as they can be
    found, and what to do."""
    in_weights, in_gradients = nonfinite_parameters(trainer.model)
    first, count = trainer.state.num_samples, trainer.settings.train.batch_size
    if trainer.processes.world_size > 1:  # the bad window may be another process's
        batches = trainer.dataset.batches(trainer.model, first, count, len(batches[0].input_ids))
    with torch.no_grad(), nonfinite_modules(trainer.model) as names:
        for batch in batches:
            trainer.model.hidden(batch.input_ids)
    found = [f"samples {first:,} to {first + count - 1:,}, from {trainer.dataset.origin(first, count)}"]
    if names:
        found.append(f"the first output that is not finite is that of {names[0]}")
    if in_weights or in_gradients:
        found.append(f"{(in_weights or in_gradients)[0]} has non-finite {'weights' if in_weights else 'gradients'}")
    return "; ".join([*found, f"look there, or resume past it with lower rates: {trainer.resume_command}"])
