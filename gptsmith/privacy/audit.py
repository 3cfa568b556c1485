"""The audit of a run: every text that it learnt from, read by every checkpoint that is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptsmith.base.console import Meter, meter
from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.open import OpenedModel
from gptsmith.generate.inference_model import inference_model
from gptsmith.model.gpt import GPT
from gptsmith.privacy.recitable import Passage, Runs, Threshold, is_learnt, passages_of, single_passages, threshold_of
from gptsmith.privacy.scan import Scan, Windows, scan
from gptsmith.privacy.wording import headline, remarks
from gptsmith.provenance.learned_text import LearnedText
from gptsmith.provenance.learned_texts import LearnedTexts, learned_texts
from gptsmith.text.tokenizer import Tokenizer

MAX_PASSAGES = 1_000
"""Passages that are looked up in their files and listed, the longest first."""
HELD_OUT_SHARE = 0.4
"""Of the time, at most, for the text that was held out."""


@dataclass(frozen=True)
class Recited:
    """What a model recites of one of the texts that it learnt from.

    Attributes:
        text: the text.
        scanned, held_out: it and the text that was held out, as the model reads them.
        threshold: the fewest tokens of a passage.
        passages: those that it recites, the longest first.
        held_out_passages: the same of the text that was held out; those that stand in the training text, too, are not
            counted.
        num_tokens: the tokens that lie in passages.
    """

    text: LearnedText
    scanned: Scan
    held_out: Scan
    threshold: Threshold
    passages: list[Passage]
    held_out_passages: list[Passage]
    num_tokens: int

    def figures(self) -> dict[str, Any]:
        """The figures of it, as JSON values."""
        return {
            **self.text.figures(),
            "num_tokens_read": self.scanned.num_read,
            "num_held_out_tokens": len(self.held_out.tokens),
            "num_held_out_tokens_read": self.held_out.num_read,
            "threshold": self.threshold.num_tokens,
            "longest_held_out": self.threshold.longest_held_out,
            "expected_by_chance": self.threshold.expected_by_chance,
            "num_passages": len(self.passages),
            "num_passage_tokens": self.num_tokens,
            "num_held_out_passages": len(self.held_out_passages),
        }


def audit_run(run: OpenedModel, *, minutes: float | None = None, device: str = "auto") -> dict[str, Any]:
    """What a run, at each checkpoint that is kept, can recite of the texts that it learnt from, as JSON values.

    Args:
        minutes: of reading; what has not been read then is left out, and a random sample of documents is what was read.

    Raises:
        MissingExtraError: the library that sorts is not installed.
        UserError: none of its texts is here, or it writes no text.
    """
    started = time.monotonic()
    deadline = math.inf if minutes is None else started + 60 * minutes
    learned = readable(run, learned_texts(run))
    runs = run.at_each_checkpoint()
    num_tokens = sum(len(text.array) + len(text.held_out_tokens()) for text in learned.texts)
    with meter("reading what it learnt from", len(runs) * num_tokens, count=False) as bar:
        progress = _Progress(bar, deadline, len(runs) * len(learned.texts))
        found = [(each, _recited_by(load(each, device=device), learned.texts, progress)) for each in runs]
    served = next(recited for each, recited in found if each.step == run.step)
    figures = {
        "run": str(run.folder),
        "step": run.step,
        "says": headline(
            sum(len(each.passages) for each in served), sum(len(each.held_out_passages) for each in served),
            any(each.threshold.longest_held_out is not None for each in served),
        ),
        "learned": [each.figures() for each in served],
        "missing": learned.missing,
        "threshold": served[0].threshold.num_tokens,
        "num_passages": sum(len(each.passages) for each in served),
        "passages": [plain for each in served for plain in passages_in_words(each)],
        "held_out": [plain for each in served for plain in held_out_in_words(each)],
        "checkpoints": [checkpoint_figures(each, recited, is_served=each.step == run.step) for each, recited in found],
        "seconds": time.monotonic() - started,
    }  # fmt: skip
    return {**figures, "remarks": remarks(figures)}


def readable(run: OpenedModel, learned: LearnedTexts) -> LearnedTexts:
    """The texts whose tokens are those of the model.

    Raises:
        UserError: there is none.
    """
    own = run.tokenizer()
    found = LearnedTexts([], list(learned.missing))
    for text in learned.texts:
        if _same_tokens(own, text.tokenizer):
            found.texts.append(text)
        else:
            found.missing.append(f"the text of {text.run} was learnt in other tokens than {run.folder} has now")
    if not found.texts:
        raise UserError(
            f"{'; '.join(found.missing)}: an audit reads what a model learnt from. Put it back where it was, or audit "
            f"a run that was tuned on a text of yours ({shell_command('finetune', run.folder, 'FILE')})"
        )
    return found


def _same_tokens(own: Tokenizer, other: Tokenizer) -> bool:
    """Whether each token of another tokenizer is the same one here."""
    return own.fingerprint == other.fingerprint or own.token_bytes[: other.vocab_size] == other.token_bytes


class _Progress:
    """The bar and the time of a row of texts, which have equal shares of what is left of it."""

    def __init__(self, bar: Meter, deadline: float, num_left: int) -> None:
        self._bar, self._deadline, self._num_left, self._num_done = bar, deadline, num_left, 0

    def until(self, share: float = 1.0) -> float:
        """When to stop, for a share of a text's time."""
        now = time.monotonic()
        return now + max(0.0, self._deadline - now) * share / self._num_left

    def observe(self, num_read: int) -> None:
        """Shows how many tokens of a part are read."""
        self._bar.update(self._num_done + num_read)

    def end(self, num_tokens: int) -> None:
        """Counts a text as read."""
        self._num_done += num_tokens
        self._num_left -= 1


def _recited_by(loaded: Loaded, texts: Sequence[LearnedText], progress: _Progress) -> list[Recited]:
    """What a model recites of each text.

    Raises:
        UserError: it writes no text.
    """
    loaded.require_words()
    model = inference_model(loaded.model)
    windows = Windows.of(loaded.tokenizer, loaded.config.context_length)
    return [_recited(model, windows, text, progress) for text in texts]


def _recited(model: GPT, windows: Windows, text: LearnedText, progress: _Progress) -> Recited:
    tokens, array, reach = text.held_out_tokens(), text.array, windows.length
    held_out_ends = np.flatnonzero(tokens == array.separator) + 1
    until = progress.until(HELD_OUT_SHARE)
    held_out = scan(model, windows, tokens, held_out_ends, deadline=until, observe=progress.observe)
    scanned = scan(model, windows, array.tokens, text.ends, deadline=progress.until(), observe=progress.observe)
    progress.end(len(tokens) + len(array))
    own, others = Runs.of(scanned, text.ends, reach), Runs.of(held_out, held_out_ends, reach)
    num_bytes = text.tokenizer.num_bytes_per_token[array.tokens[array.tokens != array.separator]].sum()
    threshold = threshold_of(held_out, others, array, scanned.num_read, num_bytes / max(1, len(array)))
    own, others = own.at_least(threshold.num_tokens), others.at_least(threshold.num_tokens)
    others = others.where(~is_learnt(tokens, others, array))
    return Recited(
        text, scanned, held_out, threshold, passages_of(scanned, own, array),
        single_passages(held_out, others),
        int((own.stops - own.starts).sum()),
    )  # fmt: skip


def passages_in_words(recited: Recited) -> list[dict[str, Any]]:
    """The passages of a text with their files and places, as JSON values."""
    return [
        {
            "text": source.passage,
            "num_tokens": passage.num_tokens,
            "num_copies": passage.num_copies,
            "tries": passage.tries,
            **source.plain(),
        }
        for passage in recited.passages[:MAX_PASSAGES]
        for source in [recited.text.source(passage.start, passage.num_tokens)]
    ]


def held_out_in_words(recited: Recited) -> list[dict[str, Any]]:
    """The passages of text that was held out, as JSON values."""
    return [
        {
            "text": recited.text.tokenizer.decode(recited.held_out.tokens[passage.start : passage.stop].tolist()),
            "num_tokens": passage.num_tokens,
            "tries": passage.tries,
        }
        for passage in recited.held_out_passages
    ]


def checkpoint_figures(run: OpenedModel, recited: Sequence[Recited], *, is_served: bool) -> dict[str, Any]:
    """What one checkpoint recites, as JSON values."""
    return {
        "step": run.step,
        "is_served": is_served,
        "num_passages": sum(len(each.passages) for each in recited),
        "num_passage_tokens": sum(each.num_tokens for each in recited),
        "num_held_out_passages": sum(len(each.held_out_passages) for each in recited),
        "longest_tokens": max((each.passages[0].num_tokens for each in recited if each.passages), default=0),
    }
