"""What the model would have answered after each block: the final norm and the head read the residual stream early
(nostalgebraist 2020, the logit lens). Early blocks were not trained to be read so."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.explain.claim import Claim, Item
from gptsmith.explain.methods import MethodSettings
from gptsmith.explain.question import Question, quoted
from gptsmith.model.taps import tapped


class LogitLensSettings(MethodSettings):
    """The difference, and the most probable token, read from the residual stream before the first block and after each
    one."""

    is_tested: ClassVar[bool] = False

    kind: Literal["logit_lens"] = "logit_lens"

    def explain(self, question: Question) -> list[Claim]:
        logits = lens_logits(question)
        differences = logits[:, question.target] - logits[:, question.against]
        depth = decided_after(differences)
        names = ["blocks.0.input", *(f"blocks.{layer}.output" for layer in range(len(logits) - 1))]
        items = [
            Item(question.text_of(int(row.argmax())), float(change), part=name, is_named=number == depth)
            for number, (name, row, change) in enumerate(zip(names, logits, differences, strict=True))
        ]
        wins = differences[-1] > 0
        return [Claim(self.kind, _says(question, bool(wins), depth, len(logits) - 1), items, rest=0.0)]


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


def _says(question: Question, wins: bool, depth: int, num_blocks: int) -> str:
    """The depth, for people; the target `wins` if it is the more probable in the end."""
    tokens = (question.target, question.against) if wins else (question.against, question.target)
    winner, loser = (quoted(question.text_of(token)) for token in tokens)
    where = "before the first block" if depth == 0 else f"after {depth} of {num_blocks} blocks"
    return (
        f"Read early, the network is for {winner} rather than {loser} from {where} on. Early blocks were not made to "
        "be read so."
    )
