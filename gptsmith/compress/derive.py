"""A run made from another: the same settings, tokenizer and text, other weights, and how far these are from those."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from torch import Tensor

from gptsmith.base.console import meter, note
from gptsmith.base.errors import UserError
from gptsmith.base.files import published_folder, require_room, write_json
from gptsmith.compress.difference import difference
from gptsmith.convert.open import open_run
from gptsmith.data.shards import TokenStream
from gptsmith.data.windows import IGNORED, evaluation_windows
from gptsmith.evaluate.perplexity import LanguageScore, score_language
from gptsmith.model.device import choose_device
from gptsmith.model.gpt import GPT
from gptsmith.run.checkpoint import Checkpoint, publish_checkpoint
from gptsmith.run.environment import environment
from gptsmith.run.folder import DATA, GENERATION, RESULT, Run, fill_checkpoint, load_model, require_free, weights
from gptsmith.run.writer import SPARE_BYTES
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.run_settings import settings_of
from gptsmith.train.validation_text import validation_text

KEPT = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", GENERATION, DATA)
"""The files of a run that do not depend on its weights."""
COMPARED_TOKENS, COMPARED_CONTEXT = 8192, 1024
"""How many positions' logits are compared, and at how many tokens at once."""
LOGITS_AT_ONCE = 1 << 24


def derive(
    run: str | Path,
    out: str | Path | None,
    suffix: str,
    change: Callable[[GPT], GPT],
    *,
    status: str,
    device: str = "auto",
) -> dict[str, Any]:
    """Makes a run of what `change` makes of another's best checkpoint, whole or not at all.

    Args:
        out: the folder of the new run; that of the other with `suffix` behind it where it is not given.
        status: what the new run says it is.

    Returns:
        run, status, made_from, step, num_parameters, weight_bytes_before, weight_bytes, ratio, compared_on,
        num_compared_tokens, largest_logit_difference, mean_logit_difference, top1_agreement, seconds; and where the
        validation text can be read bits_per_byte_before, bits_per_byte, validation_loss. Of a tuned run that text is
        its base's, and the figures are general_bits_per_byte_before and general_bits_per_byte.

    Raises:
        UserError: the run cannot be read or changed so, or the new folder is in use.
    """
    started = time.monotonic()
    source = open_run(run)
    target = Path(out) if out is not None else _beside(source.folder, suffix)
    require_free(target)
    checkpoint = source.best(note)
    place = choose_device(device)
    before = load_model(checkpoint, place)
    after = change(before)
    bytes_before, bytes_after = (sum(p.nbytes for p in model.parameters()) for model in (before, after))
    require_room(target, bytes_after + SPARE_BYTES, "the new run")
    figures: dict[str, Any] = {
        "run": str(target),
        "status": status,
        "made_from": str(run),
        "step": checkpoint.step,
        "num_parameters": sum(p.numel() for p in after.parameters()),
        "weight_bytes_before": bytes_before,
        "weight_bytes": bytes_after,
        "ratio": bytes_before / bytes_after,
        **_compared(source, before, after),
    }
    figures["seconds"] = time.monotonic() - started
    with published_folder(target) as folder:
        _fill(folder, source, checkpoint, after, figures)
    return figures


def _fill(folder: Path, source: Run, checkpoint: Checkpoint, model: GPT, figures: dict[str, Any]) -> None:
    settings = {**source.settings(), "model": model.config.plain()}
    made = Run.create(folder, settings, type(settings_of(source)))
    for name in KEPT:
        if (source.folder / name).exists():
            shutil.copyfile(source.folder / name, folder / name)
    loss = figures.get("validation_loss")
    state = {
        **checkpoint.read("train_state.json"),
        "validation_loss": loss,
        "validation_step": None if loss is None else checkpoint.step,
        "validation_bits_per_byte": figures.get("bits_per_byte"),
        "best_validation_loss": loss,
        "best_step": None if loss is None else checkpoint.step,
    }
    documents = {
        "model": model.config.plain(),
        "train_state": state,
        "settings": settings,
        "environment": environment(model.device, torch.float32, 1),
    }
    publish_checkpoint(
        made.checkpoints, checkpoint.step, lambda into: fill_checkpoint(into, documents, {"model": weights(model)})
    )
    write_json(folder / RESULT, figures)


def _beside(folder: Path, suffix: str) -> Path:
    """The folder next to a run's whose name has `suffix` behind it."""
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return named.with_name(named.name + suffix)


def _compared(run: Run, before: GPT, after: GPT) -> dict[str, Any]:
    """How far `after` is from `before`: on the validation text where it can be read, or else on random tokens."""
    tokenizer = run.tokenizer()
    stream, is_own = _text_to_compare_on(run)
    gap = difference(before, after, _random_windows(before) if stream is None else _windows(before, stream))
    figures = {
        "compared_on": "random tokens" if stream is None else "validation text" if is_own else "base's validation text",
        "num_compared_tokens": gap.num_tokens,
        "largest_logit_difference": gap.largest,
        "mean_logit_difference": gap.mean,
        "top1_agreement": gap.top1_agreement,
    }
    if stream is None:
        return figures
    was, now = (_score(model, stream, tokenizer) for model in (before, after))
    prefix = "" if is_own else "general_"
    figures[f"{prefix}bits_per_byte_before"] = was.bits_per_byte
    figures[f"{prefix}bits_per_byte"] = now.bits_per_byte
    return {**figures, "validation_loss": now.validation_loss} if is_own else figures


def _score(model: GPT, stream: TokenStream, tokenizer: Tokenizer) -> LanguageScore:
    with meter("measuring the validation loss", len(stream)) as bar:
        return score_language(model, stream, tokenizer.num_bytes_per_token, observe=bar.update)


def _text_to_compare_on(run: Run) -> tuple[TokenStream | None, bool]:
    """The run's validation text, and whether it is its own; nothing where it cannot be read."""
    try:
        return validation_text(run)
    except UserError as error:
        note(f"[dim]random tokens are compared, because there is no validation text: {escape(str(error))}[/dim]")
        return None, False


def _windows(model: GPT, stream: TokenStream) -> Iterator[tuple[Tensor, Tensor]]:
    """Input ids (B, T) and which positions count (B, T), from all over the text."""
    context = _context(model)
    for input_ids, targets in evaluation_windows(stream, context, _rows_at_once(model), COMPARED_TOKENS):
        yield torch.from_numpy(input_ids).to(model.device), torch.from_numpy(targets != IGNORED).to(model.device)


def _random_windows(model: GPT) -> Iterator[tuple[Tensor, Tensor]]:
    """The same with tokens drawn at random."""
    context, generator = _context(model), torch.Generator().manual_seed(0)
    num_windows = max(1, COMPARED_TOKENS // context)
    ids = torch.randint(model.config.vocab_size, (num_windows, context), generator=generator)
    for input_ids in torch.split(ids, _rows_at_once(model)):
        yield input_ids.to(model.device), torch.ones_like(input_ids, dtype=torch.bool).to(model.device)


def _rows_at_once(model: GPT) -> int:
    return max(1, LOGITS_AT_ONCE // (_context(model) * model.config.vocab_size))


def _context(model: GPT) -> int:
    return min(model.config.context_length, COMPARED_CONTEXT)
