"""The plan that `pretrain` or `finetune` would follow, without training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import ConfigurationError
from gptsmith.base.layers import layered
from gptsmith.base.notices import notice_of
from gptsmith.base.settings import merged
from gptsmith.base.verbs import verb
from gptsmith.convert.open import is_model
from gptsmith.data.care import brief_audit
from gptsmith.data.prepared_files import holds_prepared
from gptsmith.model.gpt import meta_model
from gptsmith.model.presets import GPT2_VOCAB_SIZE, preset, smith_shape
from gptsmith.train.finetuning import prepare_job
from gptsmith.train.plan_request import PlanRequest
from gptsmith.train.planning.cluster import plan_on_gpus
from gptsmith.train.planning.disk import RunDisk
from gptsmith.train.planning.finetuning_plan import plan_finetuning
from gptsmith.train.planning.outlook import outlook
from gptsmith.train.private.outlook import private_outlook
from gptsmith.train.private.pace import private_pace
from gptsmith.train.private.units import DocumentUnits, UnitDataset
from gptsmith.train.resolve import given_layers, resolve_settings
from gptsmith.train.run_settings import RunSettings
from gptsmith.train.trust import trusting
from gptsmith.train.tuning_start import requested_table
from gptsmith.train.unknown_tokens import unknown_tokens

RUNS = Path("runs")
"""Where runs are by default."""


@verb(PlanRequest, "sources")
def plan(request: PlanRequest) -> dict[str, Any]:
    """The plan of a run. Reads and prepares the data, measures the machine, and trains nothing.

    If the first source is a trained model, it is the plan of fine-tuning it on the others; else that of a new model.

    Returns:
        of a new model: seconds, num_parameters, num_active_parameters (those that compute one token), num_tokens,
        num_steps, tokens_per_step, epochs, tokens_per_second, peak_memory_bytes, disk_bytes (what the checkpoints
        take at most), free_disk_bytes (where runs/ is), bits_per_byte with bits_per_byte_low
        and bits_per_byte_high (4 % around it: see docs/plan.md; for the default model only); outlook, a sentence on
        what such a model can do and what not; the shape: embed_dim, num_layers, num_heads, context_length, vocab_size,
        dropout; and of the files num_files, num_left_out and redacted (counts of what is taken out, if anything
        is), skipped (the reason for each that was not read) and remarks (lines about what else of each was not read).

        Of many GPUs (`gpus`), on paper: num_parameters, num_tokens, tokens_per_step, num_steps, gpu, num_gpus; `best`,
        the fastest way that fits, or None; and `ways` (ddp, fsdp, hsdp), each with name, shard_size, fits,
        memory_bytes_per_gpu, host_memory_bytes_per_gpu (the most of a process), micro_batch_size,
        gradient_checkpointing, seconds_per_step, tokens_per_second, mfu, network_share, hours and gpu_hours.

        Of a fine-tuning: seconds, objective, num_steps, epochs, examples_seen_fraction, num_tokens, tokens_per_step,
        tokens_per_second, seconds_per_step, batch_size, micro_batch_size, gradient_checkpointing, context_length,
        lora_rank, num_parameters, num_trained_parameters, peak_memory_bytes, disk_bytes, free_disk_bytes;
        num_left_out and redacted as above;
        advice, a list of sentences, and notices, the same for programs: code and values of each, or None.

        Of a private training, from whose data nothing is measured: epsilon, delta, noise_multiplier, clip_norm,
        sampling_rate, num_steps, unit, num_units, batch_size, num_trained_parameters, noise_to_signal (the noise over
        the largest possible sum of clipped gradients); of a fine-tuning on conversations or plain text seconds (without
        evaluations), seconds_per_step, tokens_per_second and peak_memory_bytes, by made-up examples of the mean length;
        advice and notices.

    Raises:
        UserError: a text or a setting cannot be used, or the time is too short to train anything.
    """
    if request.gpus is not None:
        return _plan_on_paper(request, request.gpus)
    if request.sources and not holds_prepared(request.sources[0]) and is_model(str(request.sources[0])):
        return _tuning_plan(request)
    resolved = resolve_settings(request.of_new_model())
    for line in brief_audit.of_corpus(resolved.data.corpus).lines("documents"):
        note(line, "yellow")
    if warning := unknown_tokens(resolved.data):
        note(warning, "yellow")
    if resolved.settings.train.private.is_on:
        settings, model = resolved.settings, meta_model(resolved.settings.model)
        figures, advice = private_outlook(settings, len(resolved.data.train.documents), DocumentUnits.name, model)
        return {**figures, **_taken_out(resolved.data.summary), **_advice(advice)}
    shape, predicted = resolved.settings.model, resolved.predicted
    return {
        **predicted,
        **RunDisk.of_shape(shape, resolved.settings).figures(RUNS),
        "embed_dim": shape.embed_dim,
        "num_layers": shape.num_layers,
        "num_heads": shape.num_heads,
        "context_length": shape.context_length,
        "vocab_size": shape.vocab_size,
        "dropout": shape.dropout,
        "outlook": f"It {outlook(predicted['num_parameters'], predicted['num_tokens'])}.",
        "num_files": resolved.data.summary["num_files"],
        **_taken_out(resolved.data.summary),
        "skipped": resolved.data.summary["skipped"],
        "remarks": resolved.data.summary["remarks"],
    }


def _plan_on_paper(request: PlanRequest, num_gpus: int) -> dict[str, Any]:
    table = layered(given_layers(request.model_copy(update={"batch_size": None})), RunSettings).values.get("model", {})
    if request.preset == "smith":
        if not {"embed_dim", "num_layers"} <= table.keys():
            raise ConfigurationError(
                "--gpus plans for a model of a known shape: name one, such as --preset gpt3-13b, or give "
                "--set model.embed_dim=4096 --set model.num_layers=32"
            )
        table = merged(smith_shape(table["embed_dim"], table["num_layers"]), {"vocab_size": GPT2_VOCAB_SIZE, **table})
    shape = preset(request.preset, **table)
    return plan_on_gpus(
        shape, gpu=request.gpu, num_gpus=num_gpus, num_tokens=request.tokens, batch_size=request.batch_size
    )


def _tuning_plan(request: PlanRequest) -> dict[str, Any]:
    started = time.monotonic() if request.started is None else request.started
    wanted = request.of_tuning()
    with trusting(wanted.settings):
        table = requested_table(wanted)
        job = prepare_job(table)
        if job.is_private:
            units = job.dataset
            assert isinstance(units, UnitDataset)
            figures, advice = private_outlook(job.settings, units.num_samples, units.name, job.model)
            if units.has_plain_rows:
                figures |= private_pace(job.model, job.settings.train, units.tokens_per_sample)
        else:
            planned = plan_finetuning(job, table.get("train", {}), started)
            figures, advice = planned.predicted, [*planned.advice]
    figures |= RunDisk.of_model(job.model, job.settings).figures(RUNS)
    return {**figures, **_taken_out(job.data), **_advice([*job.found(), *advice])}


def _advice(sentences: list[str]) -> dict[str, Any]:
    """Sentences, and what each says for programs with words of their own: its code and values, or None."""
    return {"advice": sentences, "notices": [notice_of(sentence) for sentence in sentences]}


def _taken_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """The number of documents or examples that lists leave out, and of findings that are replaced, by kind; nothing if
    there are none."""
    return {name: data[name] for name in ("num_left_out", "redacted") if data[name]}
