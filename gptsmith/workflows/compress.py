"""A smaller run of a run."""

from __future__ import annotations

from typing import Any

from gptsmith.base.verbs import verb
from gptsmith.compress.comparison import compare
from gptsmith.compress.derive import derive
from gptsmith.compress.methods import MethodSettings, compressed, method_of
from gptsmith.compress.methods.heal import HealMethodSettings
from gptsmith.compress.methods.mixed import MixedMethodSettings
from gptsmith.compress.methods.prune import PruneMethodSettings
from gptsmith.train.report import report
from gptsmith.workflows.model_requests import CompressRequest


@verb(CompressRequest, "run", "others")
def compress(request: CompressRequest) -> dict[str, Any]:
    """Makes a smaller run of a run's best checkpoint, whole or not at all.

    Returns:
        run, status (`compressed`), made_from, step, num_parameters, weight_bytes_before, weight_bytes, bits_per_weight,
        ratio, compared_on, num_compared_tokens, kl_divergence, largest_logit_difference, mean_logit_difference,
        top1_agreement, num_scored_tokens, label_agreement of a classifier, reward_correlation of a reward model,
        seconds; and where the run's own validation text can be read bits_per_byte_before, bits_per_byte, the 95 %
        interval of the difference as bits_per_byte_rise_low and bits_per_byte_rise_high, and validation_loss (else, on
        text that was given, its base's or general text, the same with general_ before it). With `compare` made_from,
        compared_on, runs, page.

    Raises:
        UserError: there is no such kind, the run cannot be read or compressed, or the new folder is in use; or runs
            cannot be compared.
    """
    if request.compare:
        return compare([request.run, *request.others], request.out)
    methods = methods_of(request)
    figures = derive(
        request.run,
        request.out,
        "".join(f"-{method.name}" for method in methods),
        lambda model, material: compressed(model, methods, material),
        made_by="compress",
        methods=methods,
        text=[str(path) for path in request.text],
        status="compressed",
        device=request.device,
    )
    report(figures["run"])
    return figures


def methods_of(request: CompressRequest) -> list[MethodSettings]:
    """The methods that are asked for, in the order in which they are applied.

    Raises:
        ConfigurationError: there is no such method.
    """
    methods: list[MethodSettings] = []
    if request.layers is not None or request.feedforward is not None:
        methods.append(PruneMethodSettings(num_layers=request.layers, feedforward=request.feedforward))
    if request.to is not None:
        methods.append(method_of(request.to))
    if request.bits is not None:
        methods.append(MixedMethodSettings(bits=request.bits))
    if request.bytes is not None:
        methods.append(MixedMethodSettings(num_bytes=request.bytes))
    if request.heal_minutes is not None:
        methods.append(HealMethodSettings(minutes=request.heal_minutes))
    return methods
