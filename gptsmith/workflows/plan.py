"""What `pretrain` would do in so many minutes, without doing it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.workflows.pretrain import request_table, settled


def plan(
    sources: Sequence[str | Path],
    *,
    minutes: float,
    preset: str | None = None,
    params: int | None = None,
    tokenizer: str | None = None,
    validation: Sequence[str | Path] = (),
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    started: float | None = None,
) -> dict[str, Any]:
    """The plan of a run. Reads and prepares the text, measures the machine, and trains nothing.

    Arguments are those of `gptsmith.pretrain`.

    Returns:
        seconds, num_parameters, num_tokens, num_steps, tokens_per_step, epochs, tokens_per_second, peak_memory_bytes,
        bits_per_byte with bits_per_byte_low and bits_per_byte_high (4 % around it: see docs/plan.md; for the
        default model only), and the shape: embed_dim, num_layers, num_heads, context_length, vocab_size, dropout.

    Raises:
        UserError: a text or a setting cannot be used, or the time is too short to train anything.
    """
    started = time.monotonic() if started is None else started
    if not sources:
        raise UserError("name the text to plan for: files, folders or patterns")
    table = request_table(
        sources,
        minutes=minutes,
        preset=preset,
        params=params,
        tokenizer=tokenizer,
        validation=validation,
        config=config,
        settings=settings,
    )
    run_settings, said, _ = settled(table, started)
    shape = run_settings.model
    return {
        **said,
        "embed_dim": shape.embed_dim,
        "num_layers": shape.num_layers,
        "num_heads": shape.num_heads,
        "context_length": shape.context_length,
        "vocab_size": shape.vocab_size,
        "dropout": shape.dropout,
    }
