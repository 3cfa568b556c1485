"""Tokens as a model predicts them: how probable each is, beside what else could have stood there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.convert.load import load
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.evaluate.loglikelihood import LOGITS_AT_ONCE
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer


class TokenScores(NamedTuple):
    """Tokens (T,) as a model predicts them.

    Attributes:
        log_probabilities: ln p of each.
        surprises: (ln p - mean) / deviation of ln p under the model's own prediction (see `min_k_plus_plus`).
        is_right: whether each is the most likely one.
    """

    log_probabilities: np.ndarray
    surprises: np.ndarray
    is_right: np.ndarray


@torch.inference_mode()
def token_scores(model: GPT, hidden: Tensor, targets: Tensor) -> TokenScores:
    """The scores of targets (T,) by the hidden states before them (T, C)."""
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    parts = []
    for states, wanted in zip(torch.split(hidden, at_once), torch.split(targets, at_once), strict=True):
        logits = model.logits(states)  # (T, V)
        logs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=1)
        shares = logs.exp()
        mean = (shares * logs).nansum(dim=1)  # 0 for what has no chance at all
        deviation = ((shares * logs**2).nansum(dim=1) - mean**2).clamp(min=0).sqrt()
        at_target = logs.gather(1, wanted[:, None])[:, 0]
        parts.append((at_target, (at_target - mean) / (deviation + 1e-6), logs.argmax(dim=1) == wanted))
    at_target, surprises, is_right = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return TokenScores(at_target.double().numpy(), surprises.double().numpy(), is_right.numpy())


def base_model(run: OpenedModel, tokenizer: Tokenizer) -> GPT | None:
    """The model that a run was tuned from; None if there is none, or it is gone, or has other tokens."""
    training = run.training()
    if training is None or training.base is None:
        return None
    try:
        base = load(open_model(run.paths.located(training.base)), device="cpu")
    except UserError:
        return None
    return base.model if base.tokenizer.fingerprint == tokenizer.fingerprint else None
