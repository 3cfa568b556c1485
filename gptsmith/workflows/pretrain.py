"""From text to a trained GPT."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from gptsmith.base.verbs import verb
from gptsmith.run.distributed import init_process_group
from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.request import PretrainRequest
from gptsmith.train.start import agree, start_of


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
    request = request.model_copy(update={"started": started})
    with init_process_group() as processes, ExitStack() as held, more_callbacks(*request.callbacks):
        start = agree(lambda: start_of(request, processes, held), processes)
        return start.trainer(processes).fit(started)
