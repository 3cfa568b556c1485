"""The plan that `pretrain` or `finetune` would follow, without training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.verbs import verb
from gptsmith.convert.open import is_model
from gptsmith.train.finetuning import prepare_job
from gptsmith.train.planning.finetuning_plan import plan_finetuning
from gptsmith.train.planning.outlook import outlook
from gptsmith.train.request import PlanRequest
from gptsmith.train.resolve import resolve_settings
from gptsmith.train.trust import trusting
from gptsmith.train.unknown_tokens import unknown_tokens
from gptsmith.workflows.finetune import requested_table


@verb(PlanRequest, "sources")
def plan(request: PlanRequest) -> dict[str, Any]:
    """The plan of a run. Reads and prepares the data, measures the machine, and trains nothing.

    If the first source is a trained model, it is the plan of fine-tuning it on the others; else that of a new model.

    Returns:
        of a new model: seconds, num_parameters, num_active_parameters (those that compute one token), num_tokens,
        num_steps, tokens_per_step, epochs, tokens_per_second, peak_memory_bytes, bits_per_byte with bits_per_byte_low
        and bits_per_byte_high (4 % around it: see docs/plan.md; for the default model only); outlook, a sentence on
        what such a model can do and what not; the shape: embed_dim, num_layers, num_heads, context_length, vocab_size,
        dropout; and of the files num_files, num_left_out (only with `without`), skipped (the reason for each that
        was not read) and remarks (lines about what else of each was not read).

        Of a fine-tuning: seconds, objective, num_steps, epochs, examples_seen_fraction, num_tokens, tokens_per_step,
        tokens_per_second, seconds_per_step, batch_size, micro_batch_size, gradient_checkpointing, context_length,
        lora_rank, num_parameters, num_trained_parameters, peak_memory_bytes; num_left_out as above; advice, a list
        of sentences.

    Raises:
        UserError: a text or a setting cannot be used, or the time is too short to train anything.
    """
    if request.sources and is_model(str(request.sources[0])):
        return _tuning_plan(request)
    resolved = resolve_settings(request.of_new_model())
    if warning := unknown_tokens(resolved.data):
        note(warning, "yellow")
    shape, predicted = resolved.settings.model, resolved.predicted
    return {
        **predicted,
        "embed_dim": shape.embed_dim,
        "num_layers": shape.num_layers,
        "num_heads": shape.num_heads,
        "context_length": shape.context_length,
        "vocab_size": shape.vocab_size,
        "dropout": shape.dropout,
        "outlook": f"It {outlook(predicted['num_parameters'], predicted['num_tokens'])}.",
        "num_files": resolved.data.summary["num_files"],
        **_left_out(resolved.data.summary),
        "skipped": resolved.data.summary["skipped"],
        "remarks": resolved.data.summary["remarks"],
    }


def _tuning_plan(request: PlanRequest) -> dict[str, Any]:
    started = time.monotonic() if request.started is None else request.started
    wanted = request.of_tuning()
    with trusting(wanted.settings):
        table = requested_table(wanted)
        planned = plan_finetuning(prepare_job(table), table.get("train", {}), started)
    return {**planned.predicted, **_left_out(planned.job.data), "advice": planned.advice}


def _left_out(data: Mapping[str, Any]) -> dict[str, int]:
    """The number of documents or examples that lists leave out; nothing without lists."""
    return {"num_left_out": data["num_left_out"]} if data["num_left_out"] else {}
