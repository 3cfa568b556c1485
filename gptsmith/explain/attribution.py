"""The difference of two logits as a sum over what the parts of a network wrote to the residual stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gptsmith.base.errors import UserError
from gptsmith.explain.question import Question
from gptsmith.model.gpt import Block
from gptsmith.model.norm import FrozenNorm
from gptsmith.model.taps import tapped

POINTS = ("input", "attention.heads", "attention.output", "feedforward.output", "output")
BIASES, POSITIONS = "biases of norms", "positions"


@torch.inference_mode()
def direct_contributions(question: Question) -> dict[str, float]:
    """By the names of taps, what each head, each feed-forward half and the embedding add to the difference, with each
    norm frozen; by other names the rest of the sum: positions, what an attention adds besides its heads (its bias), and
    the biases of norms.

    Raises:
        UserError: a norm of the model is none that can be frozen.
    """
    model, last = question.model, _last_tensors(question)
    direction, found = _direction(question, last["final_norm"]), dict[str, float]()
    biases = 0.0
    direction, bias = _through(model.final_norm, last[f"blocks.{model.config.num_layers - 1}.output"], direction)
    biases += bias
    by_block: list[dict[str, float]] = []
    for layer in range(model.config.num_layers - 1, -1, -1):
        block: Any = model.blocks[layer]
        point = {name: last[f"blocks.{layer}.{name}"] for name in POINTS}
        parts, direction, bias = _block_contributions(block, point, direction)
        by_block.append({f"blocks.{layer}.{name}": change for name, change in parts.items()})
        biases += bias
    vectors = last["embedding"] * model.config.embedding_multiplier
    found["embedding"] = _product(direction, vectors)
    found[POSITIONS] = _product(direction, last["blocks.0.input"] - vectors)
    for parts in reversed(by_block):
        found |= parts
    found[BIASES] = biases
    return found


def _last_tensors(question: Question) -> dict[str, Tensor]:
    """What is at the taps at the last token of the context, by name: (C), and (H, D) of heads."""
    model, found = question.model, dict[str, Tensor]()

    def keep(name: str) -> Any:
        def kept(tensor: Tensor) -> None:
            found[name] = tensor[0, ..., -1, :].clone()

        return kept

    names = ["embedding", "final_norm"]
    names += [f"blocks.{layer}.{point}" for layer in range(model.config.num_layers) for point in POINTS]
    with tapped(model, {name: keep(name) for name in names}) as copied:
        copied.hidden(torch.tensor([question.ids], device=model.device))
    return found


def _direction(question: Question, normalised: Tensor) -> Tensor:
    """The direction (C) of the last normalised state along which the difference grows. A soft cap is frozen at what it
    leaves of each logit."""
    model, config = question.model, question.model.config
    rows = model.head_weight[[question.target, question.against]].to(normalised.dtype)  # (2, C)
    shares = torch.ones(2, dtype=torch.float64, device=rows.device)
    if config.logits_cap is not None:
        logits = rows.double() @ normalised.double() / config.logits_scaling
        shares = torch.where(logits == 0, 1.0, (logits / config.logits_cap).tanh() * config.logits_cap / logits)
    weighted = rows.double() * shares[:, None] / config.logits_scaling
    return weighted[0] - weighted[1]


def _block_contributions(
    block: Block, point: Mapping[str, Tensor], direction: Tensor
) -> tuple[dict[str, float], Tensor, float]:
    """What the parts of a block add along a direction (C) of the residual stream behind it; the direction before the
    block that is as good; and what the biases of its norms add."""
    x, attended, fed = point["input"], point["attention.output"], point["feedforward.output"]
    scale = block.residual_multiplier
    if block.placement == "post":
        y = block.attention_norm((x + scale * attended)[None])[0]
        direction, bias = _through(block.feedforward_norm, y + scale * fed, direction)
        feedforward = _product(scale * direction, fed)
        direction, more = _through(block.attention_norm, x + scale * attended, direction)
        of_attention, biases = scale * direction, bias + more
    else:
        of_feedforward, bias = _through(block.feedforward_output_norm, fed, scale * direction)
        feedforward = _product(of_feedforward, fed)
        of_attention, more = _through(block.attention_output_norm, attended, scale * direction)
        biases = bias + more
        x = block.attention_norm(x[None])[0]
    heads = _head_outputs(block.attention, point["attention.heads"], x)
    parts = {f"attention.heads.{head}": _product(of_attention, output) for head, output in enumerate(heads)}
    parts["attention.bias"] = _product(of_attention, attended) - sum(parts.values())
    parts["feedforward.output"] = feedforward
    return parts, direction, biases


def _head_outputs(attention: Any, heads: Tensor, x: Tensor) -> Tensor:
    """What each head alone writes, (H, C), of what the heads found (H, D) for the attention's input `x` (C)."""
    H = len(heads)
    alone = torch.diag_embed(heads.T).permute(1, 2, 0)[:, :, None]  # (H, H, 1, D), zero but where both are the same
    inputs = x.expand(H, 1, -1)
    none: Tensor = attention.combine(torch.zeros_like(alone[:1]), inputs[:1])
    outputs: Tensor = attention.combine(alone, inputs) - none
    return outputs[:, 0]


def _through(norm: nn.Module, x: Tensor, direction: Tensor) -> tuple[Tensor, float]:
    """The direction (C) before a norm, frozen as it is for its input `x` (C), that is as good as one behind it, and
    what its bias adds.

    Raises:
        UserError: the norm cannot be frozen.
    """
    if isinstance(norm, nn.Identity):
        return direction, 0.0
    freeze = getattr(norm, "frozen", None)
    if freeze is None:
        raise UserError(
            f"direct_logit_attribution: a norm of the kind {type(norm).__name__} cannot be frozen, so that the parts "
            "would not add up: use activation_patching or leave_one_out"
        )
    frozen: FrozenNorm = freeze(x.double())
    bias = 0.0 if frozen.bias is None else _product(direction, frozen.bias)
    return frozen.before(direction), bias


def _product(direction: Tensor, vector: Tensor) -> float:
    return float(direction @ vector.to(direction.dtype))
