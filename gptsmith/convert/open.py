"""Opening a trained model: a run's folder, or another program's model folder or GGUF file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from gptsmith.base.console import note
from gptsmith.base.errors import ConversionError
from gptsmith.base.files import sha256_of
from gptsmith.base.hints import shell_command
from gptsmith.convert.adapters import is_adapter_folder
from gptsmith.convert.foreign import ForeignModel
from gptsmith.convert.gguf_header import gguf_in, is_gguf
from gptsmith.convert.hub import on_the_hub
from gptsmith.convert.huggingface import ModelFolder, is_model_folder
from gptsmith.convert.import_settings import ImportRequest, ImportSettings
from gptsmith.data.cache import key_of
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.run.checkpoint import MANIFEST, Checkpoint, list_checkpoints
from gptsmith.run.contents import config_of, load_model, stored_parameters
from gptsmith.run.folder import SETTINGS, Run
from gptsmith.run.lineage import HasLineage
from gptsmith.run.remote import from_store
from gptsmith.run.train_state import TrainState
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer


class OpenedModel(HasLineage):
    """A trained model, whoever wrote it. Its weights are read when they are asked for."""

    @property
    @abstractmethod
    def step(self) -> int:
        """The step of its weights; 0 if they were trained elsewhere."""

    @property
    @abstractmethod
    def config(self) -> GPTConfig:
        """Its shape."""

    @property
    @abstractmethod
    def stored_parameters(self) -> Mapping[str, int]:
        """The number of its parameters by the dtype that its files hold them in, from their headers."""

    @abstractmethod
    def model(self, device: torch.device | str = "cpu") -> GPT:
        """The model with its weights, in evaluation mode.

        Raises:
            ConversionError: the weights do not have the names and shapes that the shape asks for, or are not finite.
        """

    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""

    @abstractmethod
    def template(self) -> ChatTemplate | None:
        """Its chat template; None if it was not made for conversations."""

    @abstractmethod
    def generation(self) -> dict[str, Any]:
        """Its sampling defaults; empty if there are none."""

    @abstractmethod
    def result(self) -> dict[str, Any] | None:
        """The figures at the end of its training; None if they are not known."""

    @abstractmethod
    def data(self) -> dict[str, Any]:
        """The summary of the data that it was trained on.

        Raises:
            ConversionError: it is not known.
        """

    @abstractmethod
    def train_state(self) -> TrainState:
        """The state of its training."""

    @abstractmethod
    def environment(self) -> dict[str, Any]:
        """Everything that its numbers depend on besides the settings, as far as it is known."""

    @property
    @abstractmethod
    def model_files(self) -> list[Path]:
        """The files that weights and tokenizer are read from."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The same for the same weights."""

    @property
    @abstractmethod
    def written_at_s(self) -> float:
        """When its weights were written, in seconds since 1970."""

    def at_each_checkpoint(self) -> list[OpenedModel]:
        """It at each of its checkpoints: itself first, then the others that are whole, newest first."""
        return [self]


class OpenedRun(Run, OpenedModel):
    """A run, at its best checkpoint.

    Attributes:
        by_hash: whether the bytes of the checkpoint are compared with its manifest, or only the sizes.
    """

    by_hash = True

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The best checkpoint that is whole.

        Raises:
            ConversionError: none is.
        """
        return self.best(note, by_hash=self.by_hash)

    @property
    def step(self) -> int:
        return self.checkpoint.step

    @property
    def config(self) -> GPTConfig:
        return config_of(self.checkpoint)

    @property
    def stored_parameters(self) -> Mapping[str, int]:
        return stored_parameters(self.checkpoint)

    def model(self, device: torch.device | str = "cpu") -> GPT:
        return load_model(self.checkpoint, device)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return super().tokenizer()

    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def train_state(self) -> TrainState:
        return self.checkpoint.train_state()

    def environment(self) -> dict[str, Any]:
        return self.checkpoint.environment()

    @property
    def model_files(self) -> list[Path]:
        return self.files(self.checkpoint)

    @property
    def fingerprint(self) -> str:
        return sha256_of(self.checkpoint.folder / MANIFEST)

    @property
    def written_at_s(self) -> float:
        return self.checkpoint.folder.stat().st_mtime

    def at_each_checkpoint(self) -> list[OpenedModel]:
        found: list[OpenedModel] = [self]
        for checkpoint in list_checkpoints(self.checkpoints):
            if checkpoint.step == self.step:
                continue
            if (problem := checkpoint.problem(by_hash=self.by_hash)) is not None:
                note(f"{checkpoint.folder.name} is skipped: {problem}")
                continue
            other = OpenedRun(self.folder)
            other.by_hash, other.checkpoint = self.by_hash, checkpoint
            found.append(other)
        return found


class OpenedForeign(OpenedModel):
    """Another program's model, as if it had been imported: nothing is copied, and no certificate is made."""

    def __init__(self, found: ForeignModel) -> None:
        self.folder, self.found = found.path, found

    def settings(self) -> dict[str, Any]:
        request = ImportRequest(folder=str(self.folder), model_type=self.found.family.model_type)
        return ImportSettings(request=request, model=self.found.shape).plain()

    @property
    def step(self) -> int:
        return 0

    @property
    def config(self) -> GPTConfig:
        return self.found.shape

    @property
    def stored_parameters(self) -> Mapping[str, int]:
        return self.found.stored_parameters

    def model(self, device: torch.device | str = "cpu") -> GPT:
        return self.found.model().to(device)

    def tokenizer(self) -> Tokenizer:
        return self.found.tokenizer

    def template(self) -> ChatTemplate | None:
        return self.found.template

    def generation(self) -> dict[str, Any]:
        return self.found.sampling()

    def result(self) -> dict[str, Any] | None:
        return None

    def data(self) -> dict[str, Any]:
        raise ConversionError(f"{self.folder} was trained elsewhere, on text that is not known here")

    def train_state(self) -> TrainState:
        return TrainState()

    def environment(self) -> dict[str, Any]:
        return {}

    @property
    def model_files(self) -> list[Path]:
        return self.found.model_files

    @cached_property
    def fingerprint(self) -> str:
        return key_of(*(sha256_of(path) for path in self.model_files))

    @property
    def written_at_s(self) -> float:
        return max(path.stat().st_mtime for path in self.model_files)


def found_at(path: str | Path) -> Path:
    """The folder or file here of a model at a path, on the Hub or in a store, fetched if it must be.

    Raises:
        UserError: it cannot be fetched.
    """
    return on_the_hub(path) or from_store(path) or Path(path)


def is_model(path: str | Path) -> bool:
    """Whether a path is a trained model: a run, a model folder or a GGUF file of another program's, or one on the
    Hub."""
    folder = found_at(path)
    return (folder / SETTINGS).is_file() or is_model_folder(folder) or (folder.is_file() and is_gguf(folder))


def open_model(path: str | Path, *, by_hash: bool = True) -> OpenedModel:
    """The trained model at a path: a run, a Hugging Face model folder, or a GGUF file; or one on the Hub, as
    `hf:owner/name` or `hf:owner/name:quantisation`; or a run in an object store, as `s3://bucket/name`.

    Args:
        path: the folder or the file.
        by_hash: compare the bytes of the weights with what was recorded of them. Without it, only their headers are
            read, which is enough for the shape.

    Raises:
        ConversionError: it is none of these, or cannot be read.
    """
    folder = found_at(path)
    if (found := open_foreign(folder, by_hash=by_hash)) is not None:
        return OpenedForeign(found)
    if is_adapter_folder(folder):
        raise ConversionError(
            f"{path} holds adapters, which need their base: make a run of both with {shell_command('import', path)}"
        )
    run = OpenedRun.open(folder)
    run.by_hash = by_hash
    return run


def open_foreign(path: Path, *, by_hash: bool = True) -> ForeignModel | None:
    """The model of another program's at a path: a Hugging Face folder, a GGUF file, or a folder that holds one; None if
    there is none. `by_hash` as in `open_model`.

    Raises:
        ConversionError: there is one, and it is not sound or its family is not known.
    """
    if is_model_folder(path):
        return ModelFolder.open(path, by_hash=by_hash)
    if (file := gguf_in(path)) is not None:
        from gptsmith.convert.gguf_model import GGUFModel  # the library takes long to import

        return GGUFModel.open(file)
    return None
