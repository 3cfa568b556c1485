"""From text to a trained GPT."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import UserError, one_line
from gptsmith.base.verbs import verb
from gptsmith.explain.for_report import add_inside
from gptsmith.run.distributed import init_process_group
from gptsmith.train.agree import agree, ended_before
from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.remote import trained_here, uploaded_before
from gptsmith.train.request import PretrainRequest
from gptsmith.train.start import following, start_of

WORTH_LOOKING_S = 120
"""Of a run that took less, nobody asks what is inside."""


@verb(PretrainRequest, "sources")
def pretrain(request: PretrainRequest) -> dict[str, Any]:
    """Train a GPT on text, from its first weight, into a run folder. The same call again resumes a run that has not
    ended. If torchrun started several processes, each of them calls this, and they train one model together.

    Returns:
        run, status (`finished`, `target_reached`, `early_stopped`, `stopped`), step, num_parameters, num_tokens,
        validation_loss (nats per token), bits_per_byte, perplexity, train_loss, best_step, tokens_per_second, seconds,
        device, dtype.

    Raises:
        UserError: a text, a setting or a folder cannot be used; nothing is left half-written.
    """
    started = time.monotonic() if request.started is None else request.started
    if request.ray is not None:
        from gptsmith.cluster.training import train_on_ray

        return train_on_ray(pretrain, request, started)
    request = request.model_copy(update={"started": started})
    with init_process_group() as processes, ExitStack() as held, more_callbacks(*request.callbacks):
        if (figures := ended_before(processes) or uploaded_before(request, processes)) is not None:
            return figures
        start = agree(lambda: start_of(trained_here(request, held), processes, held), following, processes)
        figures = start.trainer(processes).fit(started)
        if processes.is_first and not (processes.world_size > 1 and start.settings.parallel.shard):
            look_inside_if_worth_it(figures, start.run.folder)
        return figures


def look_inside_if_worth_it(figures: Mapping[str, Any], folder: Path) -> None:
    """Adds to the report of a run that has ended what is found inside its model, which takes some seconds. A run is
    well without it."""
    if figures["status"] == "stopped" or "private" in figures or figures["seconds"] < WORTH_LOOKING_S:
        return
    note("looking inside the model, for its report")
    try:
        add_inside(folder)
    except (UserError, RuntimeError) as error:  # the latter where a GPU's memory is full
        note(f"the report does not say what is inside: {one_line(error)}")
