"""The audit of a run: every text that it learnt from, read by every checkpoint that is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gptsmith.base.console import Meter, meter
from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.open import OpenedModel
from gptsmith.data.care.canaries import read_canaries
from gptsmith.generate.inference_model import inference_model
from gptsmith.model.gpt import GPT
from gptsmith.privacy.canaries import canary_figures
from gptsmith.privacy.canary_wording import canary_lines
from gptsmith.privacy.document_membership import document_membership, membership_in_words
from gptsmith.privacy.read_text import ReadText
from gptsmith.privacy.readings import Windows
from gptsmith.privacy.recited import Recited, checkpoint_figures, recited_figures
from gptsmith.privacy.scan import scan
from gptsmith.privacy.tokenizer_words import rare_words_of
from gptsmith.privacy.wording import LIMITS, headline, remarks
from gptsmith.provenance.learned_text import LearnedText
from gptsmith.provenance.learned_texts import LearnedTexts, learned_texts
from gptsmith.run.privacy_claim import claim_in_a_line, claim_of
from gptsmith.text.tokenizer import Tokenizer

HELD_OUT_SHARE = 0.4
"""Of the time, at most, for the text that was held out."""


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
    windows = Windows.of(run.tokenizer(), run.config.context_length)
    texts = [ReadText.of(text, windows) for text in learned.texts]
    with meter("reading what it learnt from", len(runs) * sum(each.num_tokens for each in texts), count=False) as bar:
        progress = _Progress(bar, deadline, len(runs) * len(texts))
        found = [(each, _recited_by(load(each, device=device), texts, progress)) for each in runs]
    served = next(recited for each, recited in found if each.step == run.step)
    canaries = {each.step: _canaries(load(each, device=device)) for each in runs}
    private = claim_of(run.folder, run.result())
    figures = {
        "run": str(run.folder),
        "step": run.step,
        "says": headline(served),
        **recited_figures(served),
        "checkpoints": [
            {
                **checkpoint_figures(each.step, recited, run.step),
                "canaries": canaries[each.step].get("canaries", {}).get("groups", []),
            }
            for each, recited in found
        ],
        "missing": learned.missing,
        "tokenizer_words": [asdict(each) for each in rare_words_of(learned.texts[-1])],
        "epsilon_claimed": private and private["epsilon"],
        **(canaries[run.step] or _documents(load(run, device=device), learned.texts[0], deadline)),
    }
    lines = [*remarks(figures), *(canary_lines(figures) if "canaries" in figures else [membership_in_words(figures)])]
    claim = [f"{claim_in_a_line(private)}."] if private else []
    return {**figures, "remarks": [*lines, *claim, LIMITS], "seconds": time.monotonic() - started}


def _canaries(loaded: Loaded) -> dict[str, Any]:
    """What the model keeps of the canaries of its run; empty if it has none."""
    num_canaries = len(read_canaries(loaded.run.folder))
    if not num_canaries:
        return {}
    with meter(f"reading the canaries of step {loaded.run.step:,}", num_canaries, count=False) as bar:
        return canary_figures(loaded.run, inference_model(loaded.model), loaded.tokenizer, observe=bar.update)


def _documents(loaded: Loaded, text: LearnedText, deadline: float) -> dict[str, Any]:
    """How well documents that the model was trained on are told from held-out ones."""
    if time.monotonic() > deadline:
        return {"membership_missing": "time was up"}
    return document_membership(loaded.run, text, inference_model(loaded.model))


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
            f"{'; '.join(found.missing)}: an audit reads what a model learnt from. Bring it back if you have it, or "
            f"audit a run that was tuned on a text of yours ({shell_command('finetune', run.folder, 'FILE')})"
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


def _recited_by(loaded: Loaded, texts: Sequence[ReadText], progress: _Progress) -> list[Recited]:
    """What a model recites of each text.

    Raises:
        UserError: it writes no text.
    """
    loaded.require_words()
    model = inference_model(loaded.model)
    return [_recited(model, text, progress) for text in texts]


def _recited(model: GPT, text: ReadText, progress: _Progress) -> Recited:
    until = progress.until(HELD_OUT_SHARE)
    held_out = scan(model, text.held_out, deadline=until, observe=progress.observe)
    scanned = scan(model, text.own, deadline=progress.until(), observe=progress.observe)
    progress.end(text.num_tokens)
    return Recited.of(text, scanned, held_out)
