"""The one-step forgetting test: how much less probable a text becomes when a model unlearns a passage a little.

A copy of the weights takes one step up the gradient of the passage's loss; each tensor moves by the same share of its
own length. How far the log-probability of the text falls is compared with steps on random other passages.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.model.packed_linear import PackedLinear
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.batch import sequence_log_likelihoods

STEP = 1e-3
"""The share of its length by which each tensor moves."""


@dataclass(frozen=True)
class Target:
    """A text whose probability is looked at.

    Attributes:
        prompt_ids: what stands before it: at least one token, such as that which begins a document.
        ids: its own tokens.
    """

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer, template: ChatTemplate | None, prompt: str | None, text: str) -> Target:
        """A text after a prompt, as the question of a conversation if there is a template; after none it begins a
        document.

        Raises:
            DataError: the template does not take the prompt.
        """
        if template is not None and prompt is not None:
            prompt_ids = template.prompt_ids(tokenizer, [{"role": "user", "content": prompt}])
        else:
            prompt_ids = tokenizer.prompt_ids(prompt or "")
        return cls(tuple(prompt_ids), tuple(tokenizer.encode(text)))

    @torch.no_grad()
    def log_probability(self, model: GPT) -> float:
        """Its log-probability under a model, in nats.

        Raises:
            UserError: it does not fit into the context.
        """
        length = len(self.prompt_ids) + len(self.ids) - 1
        if length > model.config.context_length:
            raise UserError(
                f"the text and what stands before it have {length:,} tokens, and the model's context holds "
                f"{model.config.context_length:,}: give less"
            )
        return float(sequence_log_likelihoods(model, *_batch(self.prompt_ids, self.ids, model.device)).sum())


class ForgettingModel:
    """A copy of a model that unlearns one passage at a time, each from the weights as they are.

    Attributes:
        log_probability: that of the target, in nats, with the weights as they are.
    """

    def __init__(self, model: GPT, target: Target, *, step: float = STEP) -> None:
        """
        Raises:
            UserError: the target does not fit into the context, or the weights take no gradient.
        """
        require_gradients(model)
        self._copy, self._step = copy.deepcopy(model).float().eval(), step
        self._copy.compute_dtype = torch.float32
        self._trained = [each for each in self._copy.parameters() if each.requires_grad]
        self._weights = [each.detach() for each in model.parameters() if each.requires_grad]
        self._target = target
        self.log_probability = target.log_probability(self._copy)

    @property
    def context_length(self) -> int:
        return int(self._copy.config.context_length)

    def drop(self, before: Sequence[int], ids: Sequence[int]) -> float:
        """By how many nats the target's log-probability falls after one step of forgetting a passage.

        Args:
            before: what stands before the passage, at least one token.
            ids: its tokens, of which those are forgotten that fit into the context.
        """
        with torch.inference_mode(False), torch.enable_grad():
            inputs, targets = _batch(before, ids[: self.context_length + 1 - len(before)], self._copy.device)
            likelihood = sequence_log_likelihoods(self._copy, inputs, targets).sum()
            gradients = torch.autograd.grad(likelihood, self._trained, allow_unused=True)
        try:
            self._move(gradients)
            return self.log_probability - self._target.log_probability(self._copy)
        finally:
            self._restore()

    @torch.no_grad()
    def _move(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self._trained, gradients, strict=True):
            if gradient is None:
                continue
            dense = gradient.to_dense() if gradient.is_sparse else gradient
            length = torch.linalg.vector_norm(dense)
            if length > 0:
                parameter.sub_(dense * (self._step * torch.linalg.vector_norm(parameter) / length))

    @torch.no_grad()
    def _restore(self) -> None:
        for parameter, weights in zip(self._trained, self._weights, strict=True):
            parameter.copy_(weights)


def require_gradients(model: GPT) -> None:
    """
    Raises:
        UserError: weights of the model are integers, which take no gradient, or are packed for an engine.
    """
    trained = [each for each in model.parameters() if each.requires_grad]
    has_integers = any(not each.is_floating_point() for each in model.parameters())
    is_packed = any(isinstance(module, PackedLinear) for module in model.modules())
    if is_packed or not trained or (has_integers and not model.config.linear.has_adapters):
        raise UserError(
            f"weights of the kind {model.config.linear.kind} take no step: trace the run that they were made of"
        )


def _batch(before: Sequence[int], ids: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs and targets (1, T) by which ids are predicted after what stands before them."""
    whole = torch.tensor([*before, *ids], dtype=torch.long, device=device)
    targets = whole[1:].clone()
    targets[: len(before) - 1] = IGNORED
    return whole[None, :-1], targets[None]
