"""The contents of a checkpoint: which documents and tensors it holds, written and read in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gptsmith.base.errors import CheckpointError
from gptsmith.base.files import write_json
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT, empty_model
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
)
from gptsmith.run.frozen import verified_frozen_file
from gptsmith.run.sharding import gather, reshard, shard_like
from gptsmith.run.train_state import TrainState

MAX_HEADER_BYTES = 10_000_000


@dataclass(frozen=True)
class CheckpointContents:
    """Everything that a checkpoint holds.

    Attributes:
        config: the model's shape.
        weights: its parameters, each once.
        settings: the content of the run's run.toml at this step.
        environment: what the numbers depend on besides the settings (see `gptsmith.run.environment`).
        train_state: where training stands.
        optimizer: the optimizer's tensors; None if this training cannot be resumed.
        randomness: the state of each process's generator; None if this training cannot be resumed.
        frozen: the record of the run's file of the other weights (`gptsmith.run.frozen`); None if there are none.
    """

    config: GPTConfig
    weights: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    train_state: TrainState
    optimizer: Mapping[str, Tensor] | None = None
    randomness: Mapping[str, Tensor] | None = None
    frozen: Mapping[str, Any] | None = None

    @property
    def tensors(self) -> dict[str, Mapping[str, Tensor]]:
        """The tensors by the file that holds them."""
        files = {WEIGHTS: self.weights, OPTIMIZER: self.optimizer, RANDOMNESS: self.randomness}
        return {name: tensors for name, tensors in files.items() if tensors is not None}

    @property
    def num_bytes(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.nbytes for tensors in self.tensors.values() for tensor in tensors.values())

    def write(self, folder: Path) -> None:
        """Writes every file of a checkpoint but its manifest."""
        write_json(folder / MODEL, self.config.plain())
        write_json(folder / TRAIN_STATE, self.train_state.plain())
        write_json(folder / SETTINGS, dict(self.settings))
        write_json(folder / ENVIRONMENT, dict(self.environment))
        if self.frozen is not None:
            write_json(folder / FROZEN, dict(self.frozen))
        for name, tensors in self.tensors.items():
            save_file(dict(tensors), folder / name)


def weights(model: GPT) -> dict[str, Tensor]:
    """A model's parameters by name, each once: a tied head is the embedding. Of a divided model every process must ask
    for them, and the first one gets them."""
    reshard(model)
    return {name: gather(parameter) for name, parameter in model.named_parameters()}


def config_of(checkpoint: Checkpoint) -> GPTConfig:
    """The shape of a checkpoint's model."""
    return GPTConfig.parse(checkpoint.model(), str(checkpoint.folder / MODEL))


def load_model(checkpoint: Checkpoint, device: torch.device | str = "cpu") -> GPT:
    """The model of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: its weights do not have the names and shapes that its config asks for.
    """
    model = empty_model(config_of(checkpoint))
    load_weights(model, checkpoint)
    return model.to(device).eval()


def load_weights(model: GPT, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's weights into a model of the same shape.

    Raises:
        CheckpointError: names or shapes differ, or frozen weights are gone or changed.
    """
    reshard(model)
    tensors = read_tensors(checkpoint.folder / WEIGHTS)
    if (frozen := verified_frozen_file(checkpoint)) is not None:
        tensors |= read_tensors(frozen)
    parameters = dict(model.named_parameters())
    if odd := sorted(tensors.keys() ^ parameters.keys()):
        raise CheckpointError(f"{checkpoint.folder}: weights and config do not agree about {odd[0]}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != tensors[name].shape:
                raise CheckpointError(
                    f"{checkpoint.folder}: {name} has shape {tuple(tensors[name].shape)}, "
                    f"and its config asks for {tuple(parameter.shape)}"
                )
            if tensors[name].is_floating_point() != parameter.is_floating_point():
                given, expected = (str(tensor.dtype).removeprefix("torch.") for tensor in (tensors[name], parameter))
                raise CheckpointError(f"{checkpoint.folder}: {name} is {given}, and its config asks for {expected}")
            parameter.copy_(shard_like(tensors[name], parameter))


def optimizer_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The optimizer's tensors."""
    return read_tensors(checkpoint.folder / OPTIMIZER)


def randomness(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The state of each process's generator."""
    return read_tensors(checkpoint.folder / RANDOMNESS)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: its header is longer than any of ours, which would take long to read.
    """
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: a header of {header_bytes:,} bytes is more than the {MAX_HEADER_BYTES:,} allowed"
        )
    return load_file(path)
