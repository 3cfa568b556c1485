"""A run made from another: the same settings, tokenizer and text, other weights, and how far these are from those."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch

from gptsmith.base.errors import UserError
from gptsmith.base.files import write_json
from gptsmith.compress.assessment import assess, side_by_side
from gptsmith.compress.derived_run import derived_run
from gptsmith.compress.heads import head_changes
from gptsmith.compress.material import Material
from gptsmith.compress.methods import MethodSettings
from gptsmith.compress.settings import DerivedRequest, DerivedSettings
from gptsmith.convert.hub import require_out
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.model.device import choose_device
from gptsmith.model.gpt import GPT
from gptsmith.model.transform import dequantize
from gptsmith.run.contents import CheckpointContents, weights
from gptsmith.run.environment import environment
from gptsmith.run.folder import COMPRESSION, RESULT, require_free
from gptsmith.run.privacy_claim import carried_claim, claim_of
from gptsmith.run.publish import beside, require_place
from gptsmith.run.train_state import TrainState

HEAD_TOKENS = 1024
"""Over which the change of attention heads is measured."""


def derive(
    run: str | Path,
    out: str | Path | None,
    suffix: str,
    change: Callable[[GPT, Material], GPT],
    *,
    made_by: Literal["compress", "merge"],
    methods: Sequence[MethodSettings] = (),
    text: Sequence[str] = (),
    status: str,
    device: str = "auto",
) -> dict[str, Any]:
    """Makes a run of what `change` makes of another's best checkpoint, whole or not at all.

    Args:
        out: the folder of the new run; that of the other with `suffix` behind it if it is not given.
        change: a new model of a model, with what it may read besides; the model that it is given stays as it is.
        made_by: the verb that asks for it.
        methods: what `change` does, for the lineage.
        text: files, folders and globs that it reads instead of the text that the run was trained on.
        status: the status in the new run's figures.

    Returns:
        run, status, made_from, step, num_parameters, weight_bytes_before, weight_bytes, bits_per_weight, ratio,
        compared_on, num_compared_tokens, kl_divergence, largest_logit_difference, mean_logit_difference,
        top1_agreement, num_scored_tokens, label_agreement of a classifier, reward_correlation of a reward model,
        seconds; and where the run's own validation text can be read bits_per_byte_before, bits_per_byte, the 95 %
        interval of the difference as bits_per_byte_rise_low and bits_per_byte_rise_high, and validation_loss. On text
        that was given, that of a tuned run's base, or this package's general text, the names begin with general_.

    Raises:
        UserError: the run or the text cannot be read, the run cannot be changed so, or the new folder is in use.
    """
    started = time.monotonic()
    require_out(run, out)
    source = open_model(run)
    target = Path(out) if out is not None else beside(source.folder, suffix)
    require_free(target)
    material = _material(source, text, device)
    before = material.original
    after = change(before, material)
    require_place(target, sum(parameter.nbytes for parameter in after.parameters()))
    computing = dequantize(after) if after.config.linear.is_storage else after  # once, and not in each pass
    figures = {
        "run": str(target), "status": status, "made_from": str(run), "step": source.step,
        **_size_figures(before, after), **assess(material, computing), **material.findings,
        **carried_claim(source.folder, source.result()),
    }  # fmt: skip
    details = _details(material, after, computing) if made_by == "compress" else None
    settings = _settings(source, after, figures, made_by, methods, text)
    state = _state(source.train_state(), source.step, figures)
    with derived_run(source, target, settings, _contents(after, settings, state)) as made:
        figures["seconds"] = time.monotonic() - started
        if details is not None:
            write_json(made.folder / COMPRESSION, details)
        write_json(made.folder / RESULT, figures)
    return figures


def _material(source: OpenedModel, text: Sequence[str], device: str) -> Material:
    """The model of a run, dense, in float32, and the texts.

    Raises:
        UserError: a text is given that a privately trained run could have learnt from, or something cannot be read.
    """
    if text and claim_of(source.folder, source.result()) is not None:
        raise UserError(
            f"{source.folder} was trained privately, and text that is given may be what its epsilon protects: leave "
            "--text out"
        )
    model = source.model(choose_device(device)).float()
    return Material(source, dequantize(model) if model.config.linear.is_storage else model, text)


def _contents(after: GPT, settings: DerivedSettings, state: TrainState) -> CheckpointContents:
    return CheckpointContents(
        config=after.config,
        weights=weights(after),
        settings=settings.plain(),
        environment=environment(after.device, torch.float32, 1),
        train_state=state,
    )


def _settings(
    source: OpenedModel,
    after: GPT,
    figures: Mapping[str, Any],
    made_by: Literal["compress", "merge"],
    methods: Sequence[MethodSettings],
    text: Sequence[str],
) -> DerivedSettings:
    request = DerivedRequest(
        run=figures["made_from"],
        method="-".join(each.name for each in methods) or None,
        methods=[each.plain() for each in methods],
        text=list(text),
    )
    return DerivedSettings(made_by=made_by, request=request, model=after.config, source=source.settings())


def _size_figures(before: GPT, after: GPT) -> dict[str, Any]:
    """How large the model was and is."""
    bytes_before, bytes_after = (sum(parameter.nbytes for parameter in model.parameters()) for model in (before, after))
    return {
        "num_parameters": after.num_parameters,
        "weight_bytes_before": bytes_before,
        "weight_bytes": bytes_after,
        "bits_per_weight": 8 * bytes_after / after.num_parameters,
        "ratio": bytes_before / bytes_after,
    }


def _state(source: TrainState, step: int, figures: Mapping[str, Any]) -> TrainState:
    """The state of training, with the losses of the derived model; None if they were not measured."""
    loss = figures.get("validation_loss")
    measured_at = None if loss is None else step
    return replace(
        source,
        validation_loss=loss,
        validation_step=measured_at,
        validation_bits_per_byte=figures.get("bits_per_byte"),
        best_validation_loss=loss,
        best_step=measured_at,
    )


def _details(material: Material, after: GPT, computing: GPT) -> dict[str, Any]:
    """What a report shows besides figures: what was tried, how far heads have moved, and what both models write.

    Args:
        computing: `after`, dense.
    """
    layers = material.findings.get("kept_layers", range(after.config.num_layers))
    return {
        "trials": [asdict(trial) for trial in material.trials],
        "heads": head_changes(material.original, computing, layers, material.validation_windows(HEAD_TOKENS)),
        "samples": side_by_side(material, after),
    }
