"""The contents of a checkpoint: which documents and tensors it holds, written and read in one place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptsmith.base.errors import CheckpointError, one_line
from gptsmith.base.files import write_json
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT, computing_in_float32, in_memory, shaped_model, with_memory
from gptsmith.run.checkpoint import (
    ENVIRONMENT,
    FROZEN,
    MODEL,
    OPTIMIZER,
    RANDOMNESS,
    SETTINGS,
    TRAIN_STATE,
    WEIGHTS,
    Checkpoint,
    part_name,
)
from gptsmith.run.frozen import frozen_document, verified_frozen_files
from gptsmith.run.sharding import Part, is_sharded, local_tensor, part_of, reshard, shard_number
from gptsmith.run.stored_tensors import StoredTensors, read_tensors, save_tensors
from gptsmith.run.train_state import TrainState

LAYER = re.compile(r"blocks\.(\d+)\.")


@dataclass(frozen=True)
class Shards:
    """The shards that a process holds of a model, its optimizer's values too.

    Attributes:
        number: their number, from 0.
        count: the processes that hold a copy together.
        is_first_copy: whether this process writes them; the same shards of other copies are not written.
        parts: where each tensor that is a part lies in the whole one.
    """

    number: int
    count: int
    is_first_copy: bool
    parts: Mapping[str, Part]

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes what is not sharded."""
        return self.is_first_copy and self.number == 0

    def holds(self, name: str) -> bool:
        """Whether this process writes a tensor, or a part of it."""
        part = self.parts.get(name)
        return self.is_first if part is None else self.is_first_copy and part.stop > part.start

    def file(self, name: str) -> str:
        """The name of this process's file beside those of the others."""
        return part_name(name, self.number, self.count)


@dataclass(frozen=True)
class CheckpointContents:
    """Everything that a checkpoint holds, or what one of several processes writes of it.

    Attributes:
        config: the model's shape.
        weights: its parameters, each once.
        settings: the content of the run's run.toml at this step.
        environment: what the numbers depend on besides the settings (see `gptsmith.run.environment`).
        train_state: where training stands.
        optimizer: the optimizer's tensors; None if this training cannot be resumed.
        randomness: the state of each process's generator; None if this training cannot be resumed.
        frozen: the records of the run's files of the other weights (`gptsmith.run.frozen`); None if there are none.
        shards: which shards weights and optimizer are; None of whole ones.
    """

    config: GPTConfig
    weights: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    train_state: TrainState
    optimizer: Mapping[str, Tensor] | None = None
    randomness: Mapping[str, Tensor] | None = None
    frozen: Mapping[str, Any] | None = None
    shards: Shards | None = field(default=None, kw_only=True)

    @property
    def tensors(self) -> dict[str, Mapping[str, Tensor]]:
        """The tensors by the file that holds them."""
        files = {WEIGHTS: self.weights, OPTIMIZER: self.optimizer}
        if self.shards is not None:
            files = {self.shards.file(name): each for name, each in files.items() if self.shards.is_first_copy}
        if self.shards is None or self.shards.is_first:
            files[RANDOMNESS] = self.randomness
        return {name: tensors for name, tensors in files.items() if tensors is not None}

    @property
    def num_bytes(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.nbytes for tensors in self.tensors.values() for tensor in tensors.values())

    def write(self, folder: Path) -> list[Path]:
        """Writes every file of a checkpoint but its manifest, and returns them; of shards after the first, the tensors
        alone."""
        parts = None if self.shards is None else self.shards.parts
        for name, tensors in self.tensors.items():
            save_tensors(folder / name, tensors, parts)
        documents: dict[str, Mapping[str, Any]] = {}
        if self.shards is None or self.shards.is_first:
            documents |= {MODEL: self.config.plain(), TRAIN_STATE: self.train_state.plain()}
            documents |= {SETTINGS: self.settings, ENVIRONMENT: self.environment}
            if self.frozen is not None:
                documents[FROZEN] = frozen_document(self.frozen)
        for name, document in documents.items():
            write_json(folder / name, dict(document))
        return [folder / name for name in (*self.tensors, *documents)]


def weights(model: GPT) -> dict[str, Tensor]:
    """A model's parameters by name, each once: a tied head is the embedding. Of a sharded model they are this process's
    shards."""
    reshard(model)
    return {name: in_host_memory(parameter) for name, parameter in model.named_parameters()}


def shards_of(model: GPT, optimizer: Mapping[str, Tensor]) -> Shards | None:
    """The shards of a model and of its optimizer's tensors that this process holds; None of those that are whole."""
    if not is_sharded(model):
        return None
    named = {**dict(model.named_parameters()), **optimizer}
    parts = {name: part for name, tensor in named.items() if (part := part_of(tensor)) is not None}
    return Shards(*shard_number(model), parts)


def in_host_memory(tensor: Tensor) -> Tensor:
    """A tensor, or this process's shard of it, in the CPU's memory."""
    return local_tensor(tensor.detach()).cpu().contiguous()


def config_of(checkpoint: Checkpoint) -> GPTConfig:
    """The shape of a checkpoint's model."""
    return GPTConfig.parse(checkpoint.model(), str(checkpoint.folder / MODEL))


def load_model(checkpoint: Checkpoint, device: torch.device | str = "cpu") -> GPT:
    """The model of a checkpoint, in evaluation mode. No memory is taken before names and shapes of its weights are
    compared with its config. On a processor the files' own bytes, mapped into memory, are its weights; bfloat16 stays.

    Raises:
        CheckpointError: its weights do not have the names and shapes that its config asks for.
    """
    config, stored = config_of(checkpoint), stored_weights(checkpoint)
    layers = {layer[1] for name in stored if (layer := LAYER.match(name))}
    if len(layers) != config.num_layers:
        asked = f"{MODEL} asks for {config.num_layers:,} layers"
        raise CheckpointError(f"{checkpoint.folder}: {asked}, and there are weights of {len(layers):,}")
    model = shaped_model(config, str(checkpoint.folder / MODEL))
    _require_shapes(checkpoint, dict(model.named_parameters()), stored)
    model = with_memory(model)
    _fill(model, checkpoint, stored, adopts=True)
    return computing_in_float32(model.to(device)).eval()


def load_weights(model: GPT, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's weights into a model of the same shape. A sharded one reads its shards alone.

    Raises:
        CheckpointError: names or shapes differ, or frozen weights are gone or changed.
    """
    _fill(model, checkpoint, stored_weights(checkpoint))


def load_trained_weights(model: GPT, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's weights into the model that it was saved from; frozen ones, which are still what they were,
    are not read again.

    Raises:
        CheckpointError: names or shapes differ.
    """
    stored = StoredTensors(checkpoint.files(WEIGHTS))
    _fill(model, checkpoint, stored, but_frozen=checkpoint.frozen() is not None)


def _fill(
    model: GPT, checkpoint: Checkpoint, stored: StoredTensors, *, but_frozen: bool = False, adopts: bool = False
) -> None:
    """Puts stored tensors into a model, or, if it `adopts` them, makes them its parameters."""
    reshard(model)
    parameters = {name: each for name, each in model.named_parameters() if each.requires_grad or not but_frozen}
    _require_shapes(checkpoint, parameters, stored)
    with torch.no_grad():
        for name, parameter in parameters.items():
            tensor = stored.read(name, part_of(parameter))
            if tensor.is_floating_point() != parameter.is_floating_point():
                given, expected = (str(each.dtype).removeprefix("torch.") for each in (tensor, parameter))
                raise CheckpointError(f"{checkpoint.folder}: {name} is {given}, and its config asks for {expected}")
            if adopts:
                parameter.data = in_memory(tensor)
            else:
                local_tensor(parameter).copy_(tensor)


def stored_weights(checkpoint: Checkpoint) -> StoredTensors:
    """A checkpoint's weights in its files, and the frozen ones in those of its run.

    Raises:
        CheckpointError: a file cannot be read, or frozen weights are gone or changed.
    """
    return StoredTensors([*checkpoint.files(WEIGHTS), *verified_frozen_files(checkpoint)])


def _require_shapes(checkpoint: Checkpoint, parameters: Mapping[str, Tensor], stored: StoredTensors) -> None:
    """
    Raises:
        CheckpointError: a model has other weights than those.
    """
    shapes = stored.shapes
    if odd := sorted(shapes.keys() ^ parameters.keys()):
        raise CheckpointError(f"{checkpoint.folder}: weights and config do not agree about {one_line(odd[0], 100)}")
    for name, parameter in parameters.items():
        if parameter.shape != shapes[name]:
            raise CheckpointError(
                f"{checkpoint.folder}: {name} has shape {shapes[name]}, "
                f"and its config asks for {tuple(parameter.shape)}"
            )


def optimizer_tensors(checkpoint: Checkpoint) -> StoredTensors:
    """The optimizer's tensors."""
    return StoredTensors(checkpoint.files(OPTIMIZER))


def randomness(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The state of each process's generator."""
    return read_tensors(checkpoint.folder / RANDOMNESS)


def stored_parameters(checkpoint: Checkpoint) -> Counter[str]:
    """The number of a checkpoint's parameters by the dtype that they are stored in, from the headers of its files.

    Raises:
        CheckpointError: a file cannot be read, or is no sound safetensors file.
    """
    frozen = [path for path in checkpoint.frozen_files() if path.exists()]
    return StoredTensors([*checkpoint.files(WEIGHTS), *frozen]).num_parameters()
