"""Which documents a model was trained on, told from those that were held out, where chance alone decided which are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gptsmith.base.randomness import derived_seed
from gptsmith.convert.open import OpenedModel
from gptsmith.model.gpt import GPT
from gptsmith.privacy.membership import membership, min_k_plus_plus
from gptsmith.privacy.token_scores import TokenScores, base_model, token_scores
from gptsmith.provenance.learned_text import LearnedText

MAX_DOCUMENTS = 100
"""Of each side, drawn at random."""
MIN_DOCUMENTS = 20
MAX_TOKENS = 256
"""Read of a document, from its beginning."""
WHY_NOT = {
    "position": "its validation text is the end of each document, which belongs to what it was trained on",
    "files": "its validation files are another source, which could be told from its text without any model",
    "none": "nothing of its text was held out",
}


def document_membership(
    run: OpenedModel, text: LearnedText, model: GPT, *, seed: int = 0, observe: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """How well a model's scores tell documents that its run was trained on from held-out ones, as JSON values.

    Returns:
        memberships (by score), auc, interval and true_positives_at_1_percent (of the first of these scores); or
        membership_missing, the reason why they would show nothing of the model.
    """
    if reason := _why_not(run, text):
        return {"membership_missing": reason}
    generator = np.random.Generator(np.random.PCG64(derived_seed(seed, "documents")))
    trained = [text.tokens_of(number) for number in _drawn(len(text.ends), generator)]
    held_out = _documents(text.held_out_tokens(), text.array.separator)
    others = [held_out[number] for number in _drawn(len(held_out), generator)]
    base = base_model(run, text.tokenizer)
    names = ("loss", "min_k_plus_plus") if base is None else ("loss_less_base", "loss", "min_k_plus_plus")
    scores: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for side in (trained, others):
        read = _read(model, text, side, observe)
        loss = np.array([each.log_probabilities.mean() for each in read])
        scores["loss"].append(loss)
        scores["min_k_plus_plus"].append(min_k_plus_plus([each.surprises for each in read]))
        if base is not None:
            before = _read(base.to(model.device), text, side, observe)
            scores["loss_less_base"].append(loss - [each.log_probabilities.mean() for each in before])
    found = {name: membership(*sides, seed=seed).plain() for name, sides in scores.items()}
    first = found[names[0]]
    return {"memberships": found, **{name: first[name] for name in ("auc", "interval", "true_positives_at_1_percent")}}


def membership_in_words(figures: dict[str, Any]) -> str:
    """The findings of `document_membership`, in a sentence."""
    if reason := figures.get("membership_missing"):
        hint = "" if "canaries" in reason else " Canaries can show it (--canaries 200, before training)."
        return f"Who is in it cannot be measured: {reason}.{hint}"
    low, high = figures["interval"]
    return (
        f"Documents that it was trained on are told from held-out ones with an AUC of {figures['auc']:.2f} ({low:.2f} "
        f"to {high:.2f}; 0.5 is chance), {figures['true_positives_at_1_percent']:.0%} of them where 1 % are falsely "
        "accused."
    )


def _why_not(run: OpenedModel, text: LearnedText) -> str | None:
    """Why training and held-out documents of a text do not differ by chance alone; None if they do."""
    data = run.data()
    if text.kind != "text" or text.run != run.folder:
        return "only of a run that was itself trained on plain text it is known that chance decided"
    if data.get("split_by") != "document":
        return WHY_NOT.get(data.get("split_by", "none"), WHY_NOT["none"])
    if data.get("canaries"):
        return "its training documents have canaries in them, by which they could be told"
    num_held_out = len(_documents(text.held_out_tokens(), text.array.separator))
    if min(num_held_out, len(text.ends)) < MIN_DOCUMENTS:
        return f"{num_held_out} held-out documents are too few"
    return None


def _drawn(count: int, generator: np.random.Generator) -> Sequence[int]:
    drawn: list[int] = generator.permutation(count)[:MAX_DOCUMENTS].tolist()
    return drawn


def _documents(tokens: np.ndarray, separator: int) -> list[np.ndarray]:
    """The documents of a text that has the separator behind each."""
    ends = np.flatnonzero(tokens == separator)
    return [part[part != separator] for part in np.split(tokens, ends + 1) if len(part) > 1]


@torch.inference_mode()
def _read(
    model: GPT, text: LearnedText, documents: Sequence[np.ndarray], observe: Callable[[int], None]
) -> list[TokenScores]:
    """The beginning of each document as a model predicts it."""
    opening = text.tokenizer.prompt_ids("")
    room = min(MAX_TOKENS, model.config.context_length)
    found = []
    for document in documents:
        ids = torch.tensor([*opening, *document[:room].tolist()], device=model.device)[: room + 1]
        hidden = model.hidden(ids[None, :-1])[0, len(opening) - 1 :]
        found.append(token_scores(model, hidden, ids[len(opening) :]))
        observe(len(found))
    return found
