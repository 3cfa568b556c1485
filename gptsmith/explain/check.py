"""The identities that every explanation rests on, on this model, device and dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.explain.attribution import direct_contributions
from gptsmith.explain.lens import lens_logits
from gptsmith.explain.parts import parts_of, patched_states
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache
from gptsmith.model.packed_linear import PackedLinear
from gptsmith.model.taps import record, tap_names, tapped
from gptsmith.text.tokenizer import Tokenizer

NUM_TOKENS = 24
FINE_ROUNDINGS, COARSE_ROUNDINGS = 256, 16
"""An identity may be off by so many roundings of the largest logit: of float32 and finer, and of coarser numbers, of
which as many would allow for anything."""
PACKED_ROUNDING = 2.0**-8
"""The rounding of inputs of packed weights, which are quantized to int8 or become bfloat16 as they are multiplied."""


@dataclass(frozen=True)
class Check:
    """An identity, tried on a model.

    Attributes:
        identity: its short name.
        says: the identity in words.
        error: by how much it is off, in nats; None where it is not for this model.
        bound: by how much it may be off.
        why: why it is not for this model.
    """

    identity: str
    says: str
    error: float | None
    bound: float
    why: str = ""

    @property
    def holds(self) -> bool:
        """Whether it holds, or is not for this model."""
        return self.error is None or self.error <= self.bound

    def plain(self) -> dict[str, Any]:
        """The check as JSON values."""
        return {**asdict(self), "holds": self.holds}


def check_model(model: GPT, tokenizer: Tokenizer, *, seed: int = 0) -> list[Check]:
    """Every identity, tried on random tokens."""
    generator = torch.Generator().manual_seed(seed)
    num_tokens = min(NUM_TOKENS, model.config.context_length)
    ids = torch.randint(model.config.vocab_size, (1, num_tokens), generator=generator).to(model.device)
    with torch.inference_mode():
        logits = model(ids)[0]
    target, against = logits[-1].topk(2).indices.tolist()
    question = Question(model, tokenizer, Prompt(tuple(ids[0].tolist()), ()), target, against)
    bound = _relative_bound(model) * max(1.0, float(logits.abs().max()))
    return [
        _tried(name, says, measure, question, 0.0 if name == "taps" else bound) for name, says, measure in IDENTITIES
    ]


def _relative_bound(model: GPT) -> float:
    """By how much an identity may be off, as a share of the largest logit."""
    if any(isinstance(module, PackedLinear) for module in model.modules()):
        return COARSE_ROUNDINGS * PACKED_ROUNDING
    rounding = torch.finfo(model.dtype).eps
    return rounding * (FINE_ROUNDINGS if rounding <= torch.finfo(torch.float32).eps else COARSE_ROUNDINGS)


def _tried(name: str, says: str, measure: Callable[[Question], float], question: Question, bound: float) -> Check:
    try:
        with torch.inference_mode():
            return Check(name, says, measure(question), bound)
    except UserError as refusal:
        return Check(name, says, None, bound, str(refusal))


def _ids(question: Question) -> Tensor:
    return torch.tensor([question.ids], device=question.model.device)


def _off(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max())


def _taps(question: Question) -> float:
    """The model while every tap is looked at but the pattern, which is computed in another way."""
    model, ids = question.model, _ids(question)
    functions = {name: lambda tensor: None for name in tap_names(model) if not name.endswith(".pattern")}
    with tapped(model, functions) as copied:
        return _off(copied(ids), model(ids))


def _deletion(question: Question) -> float:
    model, ids = question.model, _ids(question)
    kept = torch.arange(ids.shape[1], device=ids.device) % 5 != 2
    masked = model(ids, kept.long()[None])[0, kept]
    return _off(masked, model(ids[:, kept])[0])


def _cached(question: Question) -> float:
    model, ids = question.model, _ids(question)
    cache = Cache(model.config, 1, ids.shape[1], dtype=model.dtype, device=ids.device)
    pieces = [model(piece, cache=cache) for piece in torch.split(ids, [ids.shape[1] - 2, 1, 1], dim=1)]
    return _off(torch.cat(pieces, dim=1), model(ids))


def _patterns(question: Question) -> float:
    """The logits, and what every head finds, with attention computed from patterns."""
    model, ids, names = question.model, _ids(question), ["blocks.*.attention.heads", "logits"]
    fast, plain = record(model, ids, names), record(model, ids, [*names, "blocks.*.attention.pattern"])
    return max(_off(plain[name], tensor) for name, tensor in fast.items())


def _sum(question: Question) -> float:
    return abs(sum(direct_contributions(question).values()) - question.difference)


def _lens(question: Question) -> float:
    return _off(lens_logits(question)[-1], question.logits)


def _patch(question: Question, names: Sequence[str], others: Tensor) -> float:
    """How far the logits after `others`, with the states of the question's tokens put in at some taps, are from those
    of the question."""
    model = question.model
    own = {name: tensor[0] for name, tensor in record(model, _ids(question), names).items()}
    states = patched_states(model, others[0].tolist(), [own])
    return _off(model.logits(states[0, -1]), question.logits)


def _self_patch(question: Question) -> float:
    return _patch(question, parts_of(question.model), _ids(question))


def _all_patch(question: Question) -> float:
    return _patch(question, ["embedding"], _ids(question).flip(1))


IDENTITIES: list[tuple[str, str, Callable[[Question], float]]] = [
    ("taps", "looking at the model's inside changes no bit", _taps),
    ("deletion", "a token that is masked is as one that is deleted", _deletion),
    ("cache", "reading token by token is reading at once", _cached),
    ("patterns", "where heads look, times the values there, is what they find", _patterns),
    ("sum", "what the parts write adds up to the difference", _sum),
    ("lens", "the lens behind the last block is the model", _lens),
    ("self-patch", "parts put in their own places change nothing", _self_patch),
    ("all-patch", "all embeddings of a prompt put into another make its answer", _all_patch),
]
