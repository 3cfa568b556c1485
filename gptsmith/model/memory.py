"""The memory that a model takes, from its shape alone: its weights, and what stands in memory for its backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT, shaped_model

PROCESS_BYTES = 260_000_000
"""A process that is ready to load a model, with PyTorch and everything else that it imports."""
RUNTIME_BYTES = 100_000_000
"""What PyTorch itself allocates once it computes."""
FEW_LAYERS = 8
"""What the layers of a deeper model keep is told from so many."""


@lru_cache(maxsize=16)
def weight_bytes(config: GPTConfig, dtype: torch.dtype) -> int:
    """The bytes of a model's weights, whose matrices are kept in a dtype. Quantized ones and vectors are what they
    are."""
    parameters = shaped_model(config, "the settings of the model").parameters()
    return sum(p.numel() * (dtype.itemsize if is_converted(p, dtype) else p.itemsize) for p in parameters)


def is_converted(parameter: Tensor, dtype: torch.dtype) -> bool:
    """Whether the dtype that a model is kept in is that of this parameter. Vectors, such as norms' gains and the scales
    of int8 rows, are never rounded."""
    return parameter.is_floating_point() and (parameter.dim() > 1 or dtype == torch.float32)


class KeptBytes(NamedTuple):
    """The memory that stands between the forward and the backward pass."""

    per_token: float
    of_weights: int
    """Copies of weights in the dtype of the products, which do not depend on the tokens."""


@dataclass
class KeptTensors:
    """What a forward pass keeps for the backward pass, by the memory that holds it: its bytes, and whether it is a copy
    of a weight."""

    storages: dict[int, tuple[int, bool]] = field(default_factory=dict)

    def num_bytes(self, *, of_weights: bool) -> int:
        """The bytes of copies of weights, or of everything else."""
        return sum(size for size, is_copy in self.storages.values() if is_copy == of_weights)


@contextmanager
def recorded_kept(model: nn.Module) -> Iterator[KeptTensors]:
    """What the forward passes of a model within the block keep, besides its weights."""
    own = {_storage_of(parameter) for parameter in model.parameters()}
    shapes = {shape for parameter in model.parameters() for shape in (parameter.shape, parameter.shape[::-1])}
    kept = KeptTensors()

    def keep(tensor: Tensor) -> Tensor:
        if (storage := _storage_of(tensor)) not in own:
            kept.storages[storage] = tensor.untyped_storage().nbytes(), tensor.shape in shapes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def _storage_of(tensor: Tensor) -> int:
    """The same for two tensors in the same memory, with or without real memory behind it."""
    return int(tensor.untyped_storage()._cdata)


def kept_by_shape(
    config: GPTConfig, num_samples: int, num_tokens: int, dtype: torch.dtype, *, checkpointing: bool = False
) -> KeptBytes:
    """What a pass over so many samples of so many tokens keeps on a processor, computed in a dtype; without the head.
    The pass is made with tensors that have no memory. Of a model that looks at its numbers to compute, such as one with
    experts, the estimate of `cost` is taken.
    """
    if checkpointing:  # the input of each block; and one block at a time has all of its own again
        plain = kept_by_shape(config, num_samples, num_tokens, dtype)
        inputs = config.num_layers * config.embed_dim * dtype.itemsize
        return KeptBytes(inputs + plain.per_token / config.num_layers, plain.of_weights // config.num_layers)
    try:
        return _kept_by_layers(config, num_samples, num_tokens, dtype)
    except RuntimeError:
        return KeptBytes(cost(config).activation_bytes_per_token * dtype.itemsize / 4, 0)


@lru_cache(maxsize=4)
def _kept_by_layers(config: GPTConfig, num_samples: int, num_tokens: int, dtype: torch.dtype) -> KeptBytes:
    def kept(num_layers: int) -> tuple[int, int]:
        part = config.model_copy(update={"num_layers": num_layers, "context_length": num_tokens})
        with torch._subclasses.FakeTensorMode():
            model = GPT(part).train()
            model.compute_dtype = dtype
            with recorded_kept(model) as found:
                output = model.hidden(torch.zeros(num_samples, num_tokens, dtype=torch.long))
            del output
        return found.num_bytes(of_weights=False), found.num_bytes(of_weights=True)

    few = min(config.num_layers, FEW_LAYERS)
    activations, copies = kept(few)
    if few < config.num_layers:
        more, (one_layer, one_copy) = (config.num_layers - few) / (few - 1), kept(1)
        activations += int(more * (activations - one_layer))
        copies += int(more * (copies - one_copy))
    return KeptBytes(activations / (num_samples * num_tokens), copies)
