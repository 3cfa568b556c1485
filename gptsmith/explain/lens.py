"""A network read early: its final norm and head at the residual stream after each block (nostalgebraist 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.explain.question import Question
from gptsmith.model.taps import tapped


@torch.inference_mode()
def lens_logits(question: Question) -> Tensor:
    """The logits (L + 1, V) that final norm and head read at the last token of the context, before the first of L
    blocks and after each.

    Raises:
        UserError: the answer is no token, or the model's norms stand where early states have no meaning for its head.
    """
    question.require_tokens("logit_lens")
    model, found = question.model, list[Tensor]()
    if model.config.norm_placement == "post":
        raise UserError(
            "logit_lens: this model (model.norm_placement=post) normalises the residual stream in every block, so that "
            "its head cannot read it early: use direct_logit_attribution or activation_patching"
        )

    def keep(tensor: Tensor) -> None:
        found.append(tensor[0, -1])

    names = ["blocks.0.input", *(f"blocks.{layer}.output" for layer in range(model.config.num_layers))]
    with tapped(model, dict.fromkeys(names, keep)) as copied:
        copied.hidden(torch.tensor([question.ids], device=model.device))
    normalised = model.final_norm(torch.stack(found)[:, None])[:, 0]
    return model.logits(normalised / model.config.logits_scaling)


def decided_after(differences: Tensor) -> int:
    """The number of blocks after which a difference (L + 1) has the sign that it keeps."""
    signs = (differences > 0) == (differences[-1] > 0)
    wrong = (~signs).nonzero()
    return int(wrong[-1]) + 1 if len(wrong) else 0
