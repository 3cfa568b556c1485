"""A smaller run of a run."""

from __future__ import annotations

from typing import Any

from gptsmith.base.verbs import verb
from gptsmith.compress.derive import derive
from gptsmith.compress.methods import method_of
from gptsmith.workflows.requests import CompressRequest


@verb(CompressRequest, "run")
def compress(request: CompressRequest) -> dict[str, Any]:
    """Makes a smaller run of a run's best checkpoint, whole or not at all.

    Returns:
        run, status (`compressed`), made_from, step, num_parameters, weight_bytes_before, weight_bytes, ratio,
        compared_on, num_compared_tokens, kl_divergence, largest_logit_difference, mean_logit_difference,
        top1_agreement, seconds; and where the run's own validation text can be read bits_per_byte_before,
        bits_per_byte, validation_loss (else, on its base's text or general text, general_bits_per_byte_before and
        general_bits_per_byte).

    Raises:
        UserError: there is no such kind, the run cannot be read or compressed, or the new folder is in use.
    """
    method = method_of(request.to)
    return derive(
        request.run,
        request.out,
        f"-{method.name}",
        method.compress,
        made_by="compress",
        method=method.name,
        status="compressed",
        device=request.device,
    )
