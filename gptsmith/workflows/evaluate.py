"""How well a run predicts a text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.console import meter
from gptsmith.base.errors import UserError
from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.evaluate.language import score_language
from gptsmith.run.folder import Run
from gptsmith.text.tokenizers.huggingface import HuggingFaceTokenizerSettings
from gptsmith.workflows.load import load
from gptsmith.workflows.settings import RunSettings


def evaluate(run: str | Path, texts: Sequence[str | Path] = (), *, device: str = "auto") -> dict[str, Any]:
    """The figures of a run's best checkpoint on `texts`, or on its own validation set where none are given.

    It computes in the numbers that the run was trained in, so that the figures are those of its end.

    Returns:
        run, step, validation_loss (nats a token), perplexity, bits_per_byte, num_tokens, num_bytes, tokens_per_second,
        seconds.

    Raises:
        UserError: the run or a text cannot be read, or the run has no validation set and no text was given.
    """
    started = time.monotonic()
    settings = RunSettings.parse(Run.open(run).settings(), str(run))
    loaded = load(run, device=device, dtype=settings.train.dtype)
    if texts:
        data = prepare(
            [str(text) for text in texts],
            settings=DataSettings(validation_share=0.0),
            tokenizer=HuggingFaceTokenizerSettings(path=str(loaded.run.folder)),
            seed=0,
        )
        stream = data.train
    else:
        asked = settings.asked
        data = prepare(
            asked.sources,
            settings=settings.data,
            tokenizer=settings.tokenizer,
            validation=asked.validation,
            seed=settings.train.seed,
        )
        if data.validation is None:
            raise UserError(f"{run} held no text back for validation: name a text to evaluate on")
        stream = data.validation
    scored_at = time.monotonic()
    with meter("evaluating", len(stream)) as bar:
        score = score_language(loaded.model, stream, loaded.tokenizer.num_bytes_per_token, observe=bar.update)
    return {
        "run": str(run),
        "step": loaded.checkpoint.step,
        "validation_loss": score.validation_loss,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
        "num_tokens": score.num_tokens,
        "num_bytes": score.num_bytes,
        "tokens_per_second": score.num_tokens / (time.monotonic() - scored_at),
        "seconds": time.monotonic() - started,
    }
