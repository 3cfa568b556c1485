"""Taps: named points of the trunk, at which tensors are read and replaced.

| name | shape | tensor |
| --- | --- | --- |
| `embedding` | (B, T, C) | the vectors of the tokens, before they are multiplied and positions are added |
| `blocks.N.input`, `blocks.N.output` | (B, T, C) | the residual stream before and after a block |
| `blocks.N.attention.queries` | (B, H, T, D) | as they meet the keys: normalised and rotated |
| `blocks.N.attention.keys`, `.values` | (B, K, T, D) | as they are cached |
| `blocks.N.attention.pattern` | (B, H, T, S) | where each query looks |
| `blocks.N.attention.heads` | (B, H, T, D) | what each head found, before the output projection |
| `blocks.N.attention.output`, `blocks.N.feedforward.output` | (B, T, C) | before they are normalised and added |
| `final_norm` | (B, T, C) | the last hidden states |
| `logits` | (B, T, V) | as they are sampled from |

A number behind a point of the attention, as in `blocks.3.attention.heads.2`, is one of its heads: (B, T, D), and
(B, T, S) of a pattern. A tap works on a copy that shares the weights: the model itself costs nothing, and answers
others as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gptsmith.base.errors import UserError, did_you_mean, shown
from gptsmith.model.attention import Attention
from gptsmith.model.blocks import Blocks
from gptsmith.model.gpt import GPT
from gptsmith.model.layout import Span
from gptsmith.model.position import Positions
from gptsmith.model.shared_copy import shared_copy

TapFunction = Callable[[Tensor], Tensor | None]
"""Looks at a tensor, and returns another in its place (of a shape that broadcasts to it), or None."""

PROJECTIONS = ("queries", "keys", "values")
BY_HEAD = tuple(f"attention.{point}" for point in (*PROJECTIONS, "pattern", "heads"))
BLOCK_POINTS = ("input", *BY_HEAD, "attention.output", "feedforward.output", "output")


def tap_names(model: GPT) -> list[str]:
    """The names of a model's taps in the order of its computation, without those of single heads."""
    blocks = [f"blocks.{layer}.{point}" for layer in range(len(model.blocks)) for point in BLOCK_POINTS]
    return ["embedding", *blocks, "final_norm", "logits"]


def expanded_names(model: GPT, names: Sequence[str]) -> list[str]:
    """Names of taps and of heads, those for a pattern such as `blocks.*.output` in its place.

    Raises:
        UserError: the model has no such tap.
    """
    known, found = tap_names(model), dict[str, None]()
    for name in names:
        matching = [each for each in known if fnmatchcase(each, name)]
        if not matching:
            _place_and_head(model, name)  # refuses what is no head either
        found |= dict.fromkeys(matching or [name])
    return list(found)


@contextmanager
def tapped(model: GPT, functions: Mapping[str, TapFunction]) -> Iterator[GPT]:
    """A copy of `model` in evaluation mode that shares its weights and calls each function with the tensor at the tap
    of its name. After the block the copy computes what the model does.

    Raises:
        UserError: the model has no such tap, or a function returns what does not fit in its place.
    """
    taps = _Taps()
    for name, function in functions.items():
        place, head = _place_and_head(model, name)
        taps.add(place, function if head is None else partial(_at_head, function, head))
    copied = shared_copy(model).eval()
    copied.use_gradient_checkpointing(False)  # a block that is computed again would call its functions again
    for place in taps.functions:
        _attach(copied, place, taps)
    try:
        yield copied
    finally:
        taps.functions.clear()


@torch.no_grad()
def record(
    model: GPT, input_ids: Tensor, names: Sequence[str], attention_mask: Tensor | None = None
) -> dict[str, Tensor]:
    """The tensors at taps of one pass over `input_ids` (B, T), by name, which may be patterns: `blocks.*.output`.

    Raises:
        UserError: the model has no such tap, or the tokens do not fit in its context.
    """
    names, found = expanded_names(model, names), dict[str, Tensor]()
    with tapped(model, {name: partial(found.__setitem__, name) for name in names}) as copied:
        hidden = copied.hidden(input_ids, attention_mask)
        if "logits" in names:
            copied.logits(hidden)
    return {name: found[name] for name in names}


def has_hooks(module: nn.Module) -> bool:
    """Whether functions of others see or change what a module computes: hooks or taps."""
    return isinstance(module, _Tapped) or bool(module._forward_hooks or module._forward_pre_hooks)


def is_tapped(model: nn.Module) -> bool:
    """Whether functions of others see or change what any module of a model computes, so that no other program may
    compute it in their place."""
    return any(map(has_hooks, model.modules()))


class _Tapped:
    """A module whose methods are tapped.

    Attributes:
        untapped: its kind as it was.
        chain: the taps, those that were there first before those that see what they put in place.
    """

    untapped: ClassVar[type[nn.Module]]
    chain: ClassVar[tuple[_Taps, ...]] = ()


class _Taps:
    """The functions of taps by their place."""

    def __init__(self) -> None:
        self.functions: dict[str, list[TapFunction]] = {}

    def add(self, place: str, function: TapFunction) -> None:
        self.functions.setdefault(place, []).append(function)

    def __call__(self, place: str, tensor: Tensor) -> Tensor:
        """The tensor, or what functions put in its place one after the other."""
        for function in self.functions.get(place, ()):
            found = function(tensor)
            if found is not None:
                tensor = _fitted(found, tensor, place)
        return tensor


def _fitted(found: Tensor, tensor: Tensor, place: str) -> Tensor:
    """A replacement in the shape and dtype of what it replaces."""
    try:
        return found.to(tensor).expand_as(tensor)
    except RuntimeError:
        given, wanted = tuple(found.shape), tuple(tensor.shape)
        raise UserError(f"{place}: a tensor of shape {given} cannot replace one of shape {wanted}") from None


def _at_head(function: TapFunction, head: int, tensor: Tensor) -> Tensor | None:
    """A tensor (B, H, ...) whose one head a function has seen and perhaps replaced."""
    found = function(tensor[:, head])
    if found is None:
        return None
    replaced = tensor.clone()
    replaced[:, head] = _fitted(found, tensor[:, head], f"head {head}")
    return replaced


def _place_and_head(model: GPT, name: str) -> tuple[str, int | None]:
    """The tap that a name stands for, and the number of a head if it names one.

    Raises:
        UserError: the model has no such tap.
    """
    known = tap_names(model)
    place, _, head = name.rpartition(".")
    if name in known:
        return name, None
    if place not in known or not place.endswith(BY_HEAD) or not head.isdecimal():
        raise UserError(f"no such tap: {shown(name)} ({_nearest(model, name)})")
    attention: Any = model.get_submodule(place.rpartition(".")[0])
    num_heads = attention.num_kv_heads if place.endswith((".keys", ".values")) else attention.num_heads
    if int(head) >= num_heads:
        raise UserError(f"no such tap: {name} (heads are 0 to {num_heads - 1})")
    return place, int(head)


def _nearest(model: GPT, name: str) -> str:
    """Advice on a name that no tap has."""
    nearest = did_you_mean(name, tap_names(model))
    if nearest.startswith("did"):
        return nearest
    return f"taps are embedding, blocks.N.input, blocks.N.attention.heads and so on, N up to {len(model.blocks) - 1}"


def _attach(model: GPT, place: str, taps: _Taps) -> None:
    """Makes the copy of a model call the functions of one place."""
    if place == "logits":
        _become(model, _tapped_logits(type(model), taps))
    elif place in ("embedding", "final_norm"):
        model.get_submodule(place).register_forward_hook(_after(taps, place))
    else:
        module_name, _, point = place.rpartition(".")
        module = model.get_submodule(module_name)
        if point == "input":
            module.register_forward_pre_hook(lambda _, args: (taps(place, args[0]), *args[1:]))
        elif point == "output":
            module.register_forward_hook(_after(taps, place))
        elif taps not in getattr(module, "chain", ()):
            _become(module, _tapped_attention(type(module), taps, module_name))


def _after(taps: _Taps, place: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """A hook for the output of a module."""
    return lambda module, args, output: taps(place, output)


def _become(module: nn.Module, kind: type[nn.Module]) -> None:
    """Gives a module other methods. Methods are found on a module's class, so that a copy of it has them too."""
    module.__class__ = kind


def _tapped_logits(kind: type[GPT], taps: _Taps) -> type[GPT]:
    """A kind of model whose logits are tapped."""

    class TappedGPT(kind, _Tapped):  # type: ignore[misc, valid-type]
        def logits(self, hidden: Tensor) -> Tensor:
            return taps("logits", super().logits(hidden))

    return TappedGPT


def _tapped_attention(kind: type[Any], taps: _Taps, place: str) -> type[Attention]:
    """A kind of attention that is tapped between its steps. The whole pattern is computed only where it is tapped."""
    chain = (*kind.chain, taps) if issubclass(kind, _Tapped) else (taps,)
    kind = kind.untapped if issubclass(kind, _Tapped) else kind

    class TappedAttention(kind, _Tapped):
        untapped = kind

        def project(self, x: Tensor, positions: Positions) -> tuple[Tensor, ...]:
            projected = zip(PROJECTIONS, super().project(x, positions), strict=True)
            return tuple(self.tap(name, tensor) for name, tensor in projected)

        def pattern(self, queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
            return self.tap("pattern", super().pattern(queries, keys, values, span))

        def attend(self, queries: Tensor, keys: Tensor | Blocks, values: Tensor | Blocks, span: Span) -> Tensor:
            is_seen = any(f"{place}.pattern" in taps.functions for taps in chain)
            attend = self.plain_attend if is_seen else super().attend
            return attend(queries, keys, values, span)

        def combine(self, attended: Tensor, x: Tensor) -> Tensor:
            return super().combine(self.tap("heads", attended), x)

        def tap(self, point: str, tensor: Tensor) -> Tensor:
            for taps in chain:
                tensor = taps(f"{place}.{point}", tensor)
            return tensor

    TappedAttention.__name__, TappedAttention.chain = kind.__name__, chain
    return TappedAttention
