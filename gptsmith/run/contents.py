"""The contents of a checkpoint: which documents and tensors it holds, written and read in one place."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gptsmith.base.bounded import open_regular
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
)
from gptsmith.run.frozen import verified_frozen_file
from gptsmith.run.sharding import gather, reshard, shard_like
from gptsmith.run.train_state import TrainState

MAX_HEADER_BYTES = 10_000_000
DTYPE_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64", "I8": "int8"}
"""The names of dtypes, by those in a safetensors file."""
LAYER = re.compile(r"blocks\.(\d+)\.")


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
    """The model of a checkpoint, in evaluation mode. No memory is taken before names and shapes of its weights are
    compared with its config. On a processor the files' own bytes, mapped into memory, are its weights; bfloat16 stays.

    Raises:
        CheckpointError: its weights do not have the names and shapes that its config asks for.
    """
    config, files = config_of(checkpoint), _weight_files(checkpoint)
    shapes = {name: shape for file in files for name, shape in read_shapes(file).items()}
    layers = {layer[1] for name in shapes if (layer := LAYER.match(name))}
    if len(layers) != config.num_layers:
        asked = f"{MODEL} asks for {config.num_layers:,} layers"
        raise CheckpointError(f"{checkpoint.folder}: {asked}, and there are weights of {len(layers):,}")
    model = shaped_model(config, str(checkpoint.folder / MODEL))
    _require_shapes(checkpoint, dict(model.named_parameters()), shapes)
    model = with_memory(model)
    _fill(model, checkpoint, files, adopts=True)
    return computing_in_float32(model.to(device)).eval()


def load_weights(model: GPT, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's weights into a model of the same shape.

    Raises:
        CheckpointError: names or shapes differ, or frozen weights are gone or changed.
    """
    _fill(model, checkpoint, _weight_files(checkpoint))


def load_trained_weights(model: GPT, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's weights into the model that it was saved from; frozen ones, which are still what they were,
    are not read again.

    Raises:
        CheckpointError: names or shapes differ.
    """
    _fill(model, checkpoint, [checkpoint.folder / WEIGHTS], but_frozen=checkpoint.frozen() is not None)


def _fill(
    model: GPT, checkpoint: Checkpoint, files: Sequence[Path], *, but_frozen: bool = False, adopts: bool = False
) -> None:
    """Puts the tensors of files into a model, or, if it `adopts` them, makes them its parameters."""
    reshard(model)
    parameters = {name: each for name, each in model.named_parameters() if each.requires_grad or not but_frozen}
    tensors = {name: tensor for file in files for name, tensor in read_tensors(file).items()}
    _require_shapes(checkpoint, parameters, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    with torch.no_grad():
        for name, parameter in parameters.items():
            if tensors[name].is_floating_point() != parameter.is_floating_point():
                given, expected = (str(tensor.dtype).removeprefix("torch.") for tensor in (tensors[name], parameter))
                raise CheckpointError(f"{checkpoint.folder}: {name} is {given}, and its config asks for {expected}")
            if adopts:
                parameter.data = in_memory(tensors.pop(name))
            else:
                parameter.copy_(shard_like(tensors[name], parameter))


def _weight_files(checkpoint: Checkpoint) -> list[Path]:
    frozen = verified_frozen_file(checkpoint)
    return [checkpoint.folder / WEIGHTS, *([] if frozen is None else [frozen])]


def _require_shapes(
    checkpoint: Checkpoint, parameters: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """
    Raises:
        CheckpointError: a model has other weights than those.
    """
    if odd := sorted(shapes.keys() ^ parameters.keys()):
        raise CheckpointError(f"{checkpoint.folder}: weights and config do not agree about {one_line(odd[0], 100)}")
    for name, parameter in parameters.items():
        if parameter.shape != shapes[name]:
            raise CheckpointError(
                f"{checkpoint.folder}: {name} has shape {shapes[name]}, "
                f"and its config asks for {tuple(parameter.shape)}"
            )


def optimizer_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The optimizer's tensors."""
    return read_tensors(checkpoint.folder / OPTIMIZER)


def randomness(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The state of each process's generator."""
    return read_tensors(checkpoint.folder / RANDOMNESS)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: it cannot be read, or is no sound safetensors file.
    """
    with _sound(path):
        return load_file(path)


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a safetensors file, without reading them.

    Raises:
        CheckpointError: as `read_tensors` does.
    """
    with _sound(path), safe_open(path, framework="pt") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118


def stored_parameters(checkpoint: Checkpoint) -> Counter[str]:
    """The number of a checkpoint's parameters by the dtype that they are stored in, from the headers of its files.

    Raises:
        CheckpointError: as `read_tensors` does.
    """
    frozen = checkpoint.frozen_file()
    counts: Counter[str] = Counter()
    for path in (checkpoint.folder / WEIGHTS, *([frozen] if frozen is not None and frozen.exists() else [])):
        with _sound(path), safe_open(path, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                part = opened.get_slice(name)
                counts[DTYPE_NAMES.get(part.get_dtype(), part.get_dtype())] += math.prod(part.get_shape())
    return counts


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """
    Raises:
        CheckpointError: a file has a header longer than any of ours, which would take long to read, or the library
            cannot read it in the block.
    """
    try:
        with open_regular(path) as file:
            header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes > MAX_HEADER_BYTES:
            raise CheckpointError(
                f"{path}: a header of {header_bytes:,} bytes is more than the {MAX_HEADER_BYTES:,} allowed"
            )
        yield
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or one_line(error)}") from None
    except (SafetensorError, RuntimeError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is not a sound safetensors file: {one_line(error)}") from None
