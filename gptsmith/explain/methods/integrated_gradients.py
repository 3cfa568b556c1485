"""Integrated gradients (Sundararajan, Taly and Yan 2017, equation 1) from the mean embedding.

Never from zero: RMSNorm is blind to scale, so that all of the change happens at the very start of such a path, and no
number of steps finds it. The baseline is part of the claim: another one can name other words.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.explain.claim import HOLDS, Claim
from gptsmith.explain.methods import MethodSettings
from gptsmith.explain.naming import important, unit_items
from gptsmith.explain.question import Question, quoted
from gptsmith.explain.testing import try_units
from gptsmith.explain.units import Grain
from gptsmith.explain.wording import joined
from gptsmith.model.gpt import GPT
from gptsmith.model.linear import LinearLayer
from gptsmith.model.packed_linear import PackedLinear
from gptsmith.model.taps import tapped

TOKENS_AT_ONCE = 1024
MOST_STEPS = 128
COMPLETE, USELESS = 0.02, 0.2
"""Steps are doubled until the attributions miss the change along the path by no more than this share of it; those that
miss the larger share are no explanation."""


class IntegratedGradientsSettings(MethodSettings):
    """The gradient of the difference, integrated from the mean embedding to each token's own: for experts."""

    needs_gradients: ClassVar[bool] = True

    kind: Literal["integrated_gradients"] = "integrated_gradients"
    by: Grain = "words"
    """The parts whose tokens are added up: sentences, words or tokens."""
    num_steps: int = Field(default=16, gt=0, le=MOST_STEPS)
    """Steps of the integral (Gauss-Legendre), doubled until it is complete."""

    def explain(self, question: Question) -> list[Claim]:
        question.require_tokens("integrated_gradients")
        require_gradients(question.model)
        attributions, rest, steps = complete_attributions(question, self.num_steps)
        if abs(rest) > USELESS * abs(rest + float(attributions.sum())):
            raise UserError(
                f"integrated_gradients: after {steps} steps {rest:+.2f} nats of the change are still missing, so that "
                "the figures say nothing: use leave_one_out"
            )
        units = question.units(self.by)
        changes = np.array([float(attributions[unit.first : unit.last].sum()) for unit in units])
        named = important(changes, question.num_claims)
        outcome = try_units(question, units, named, noun=self.by)
        items = unit_items(units, changes, named)
        says = _says(question, [units[number].text for number in named], outcome.verdict == HOLDS, rest, steps)
        return [
            Claim(
                self.kind, says, items, outcome.verdict, outcome.why, outcome.hardest, outcome.tests, rest=rest,
                by=self.by,
            )
        ]  # fmt: skip


def require_gradients(model: GPT) -> None:
    """
    Raises:
        UserError: the model's weights are integers, through which no gradient passes as it answers.
    """
    layers = [module for module in model.modules() if isinstance(module, LinearLayer)]
    if any(isinstance(layer, PackedLinear) or layer.groups() is not None for layer in layers):
        raise UserError(
            "integrated_gradients: no gradient passes through weights of int8 or of GGUF's blocks as this model "
            "answers: use leave_one_out, or explain the model that it was made of"
        )


def complete_attributions(question: Question, num_steps: int) -> tuple[Tensor, float, int]:
    """The attributions (T) of the tokens of the context, in nats; the part of the change along the path that they miss;
    and the steps that were taken."""
    while True:
        attributions, change = integrated_gradients(question, num_steps)
        rest = change - float(attributions.sum())
        if abs(rest) <= COMPLETE * abs(change) or 2 * num_steps > MOST_STEPS:
            return attributions, rest, num_steps
        num_steps *= 2


def mean_embedding(model: GPT) -> Tensor:
    """The mean (C) of the vectors of all tokens."""
    return model.embedding.matrix().detach().to(model.dtype).mean(dim=0)


def integrated_gradients(question: Question, num_steps: int) -> tuple[Tensor, float]:
    """The attributions (T) of the tokens of the context after so many steps, and the change of the difference along the
    path."""
    model = question.model
    ids = torch.tensor([question.ids], device=model.device)
    nodes, weights = np.polynomial.legendre.leggauss(num_steps)
    with torch.inference_mode(False), torch.enable_grad():
        vectors = model.embedding(ids).detach().to(model.dtype)
        base = mean_embedding(model).expand_as(vectors)
        total = torch.zeros_like(vectors)
        rows = max(1, TOKENS_AT_ONCE // ids.shape[1])
        for some, shares in zip(_parts((nodes + 1) / 2, rows), _parts(weights / 2, rows), strict=True):
            places = base + torch.tensor(some).to(vectors)[:, None, None] * (vectors - base)
            places.requires_grad_()
            (gradients,) = torch.autograd.grad(_differences(question, places).sum(), places)
            total += (torch.tensor(shares).to(vectors)[:, None, None] * gradients).sum(dim=0, keepdim=True)
        with torch.no_grad():
            start, end = _differences(question, torch.cat((base, vectors))).tolist()
    return (total * (vectors - base)).sum(dim=-1)[0], end - start


def _differences(question: Question, vectors: Tensor) -> Tensor:
    """F, (N), where the tokens of the context have these vectors (N, T, C)."""
    model = question.model
    ids = torch.tensor([question.ids], device=model.device).expand(len(vectors), -1)
    with tapped(model, {"embedding": lambda _: vectors}) as copied:
        logits = copied.logits(copied.hidden(ids)[:, -1])
    return logits[:, question.target] - logits[:, question.against]


def _parts(numbers: np.ndarray, size: int) -> list[np.ndarray]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _says(question: Question, texts: list[str], holds: bool, rest: float, steps: int) -> str:
    """The claim for people: of cause only if it holds."""
    path = f"on the way from an average word ({steps} steps, {rest:+.3f} nats unexplained)"
    if not texts:
        return f"None of your words spoke for the answer {path}."
    words = joined([quoted(text) for text in texts])
    if holds:
        return f"Because of {words} {question.subject}, {path}."
    return f"{words} {'are' if len(texts) > 1 else 'is'} associated with the answer ({question.subject}), {path}."
