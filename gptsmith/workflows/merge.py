"""A run whose adapters have become part of its weights, or whose weights have become one file."""

from __future__ import annotations

from typing import Any

from gptsmith.base.verbs import verb
from gptsmith.compress.derive import derive
from gptsmith.compress.joined import join
from gptsmith.compress.material import Material
from gptsmith.convert.hub import require_out
from gptsmith.convert.open import OpenedRun, open_model
from gptsmith.model.gpt import GPT
from gptsmith.model.transform import merge_lora, merge_lora_in_format
from gptsmith.workflows.model_requests import MergeRequest


@verb(MergeRequest, "run")
def merge(request: MergeRequest) -> dict[str, Any]:
    """Makes a run of the best checkpoint of a run with adapters, whole or not at all: with plain weights, or rounded
    again to what those below the adapters are in. Of a run without adapters that several processes wrote in parts, one
    with the same weights in one file.

    Returns:
        of parts: run, status (`merged`), made_from, step, num_parameters, weight_bytes, num_files, seconds. Else:
        run, status (`merged`), made_from, step, num_parameters, weight_bytes_before, weight_bytes, bits_per_weight,
        ratio, compared_on, num_compared_tokens, kl_divergence, largest_logit_difference, mean_logit_difference,
        top1_agreement, num_scored_tokens, label_agreement of a classifier, reward_correlation of a reward model,
        seconds, merged_weights (`floating point`, `int8`, or GGUF's formats); and where the run's own validation text
        can be read bits_per_byte_before, bits_per_byte, the 95 % interval of the difference as bits_per_byte_rise_low
        and bits_per_byte_rise_high, and validation_loss (else, on its base's text or general text, the same with
        general_ before it).

    Raises:
        UserError: the run has no adapters and no parts or cannot be read, or the new folder is in use.
    """
    require_out(request.run, request.out)
    source = open_model(request.run, by_hash=False)  # its bytes are compared when it is opened to be merged
    if isinstance(source, OpenedRun) and source.checkpoint.is_in_parts and not source.config.linear.has_adapters:
        return join(OpenedRun.open(source.folder), request.run, request.out)

    def merged(model: GPT, material: Material) -> GPT:
        made = merge_lora_in_format(model) if request.same_format else merge_lora(model)
        material.findings["merged_weights"] = made.config.linear.formats_in_words
        return made

    return derive(request.run, request.out, "-merged", merged, made_by="merge", status="merged", device=request.device)
