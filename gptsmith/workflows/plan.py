"""The plan that `pretrain` would follow, without training."""

from __future__ import annotations

from typing import Any

from gptsmith.base.console import note
from gptsmith.base.verbs import verb
from gptsmith.train.planning.outlook import outlook
from gptsmith.train.request import PlanRequest
from gptsmith.train.resolve import resolve_settings
from gptsmith.train.unknown_tokens import unknown_tokens


@verb(PlanRequest, "sources")
def plan(request: PlanRequest) -> dict[str, Any]:
    """The plan of a run. Reads and prepares the text, measures the machine, and trains nothing.

    Returns:
        seconds, num_parameters, num_tokens, num_steps, tokens_per_step, epochs, tokens_per_second, peak_memory_bytes,
        bits_per_byte with bits_per_byte_low and bits_per_byte_high (4 % around it: see docs/plan.md; for the
        default model only); outlook, a sentence on what such a model can do and what not; the shape: embed_dim,
        num_layers, num_heads, context_length, vocab_size, dropout; and of the files num_files, skipped (the reason for
        each that was not read) and remarks (lines about what else of each was not read).

    Raises:
        UserError: a text or a setting cannot be used, or the time is too short to train anything.
    """
    resolved = resolve_settings(request)
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
        "skipped": resolved.data.summary["skipped"],
        "remarks": resolved.data.summary["remarks"],
    }
