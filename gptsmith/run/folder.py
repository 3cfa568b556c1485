"""A run's folder and what is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, write_atomically, write_json
from gptsmith.base.runlog import RunLog
from gptsmith.base.settings import read_toml
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.run.store import Checkpoint, first_good, list_checkpoints, publish_checkpoint
from gptsmith.text.tokenizer import Tokenizer

SETTINGS = "run.toml"
SCHEMA = "run.schema.json"
FORMAT_VERSION = 1


class Run:
    """A run folder. Nothing in it knows where it lies, so it can be moved and copied.

    run.toml             what was asked for and what it came to
    run.schema.json      the settings that run.toml may hold, for editors
    tokenizer.json       the tokenizer, with tokenizer_config.json beside it
    data.json            what was read, what was skipped and why
    metrics.jsonl        every figure, sample and event as it came
    result.json          the figures at the end
    checkpoints/step-…/  weights, optimizer, counters and randomness, with a manifest of hashes
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.log = RunLog(folder / "metrics.jsonl")

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """An existing run.

        Raises:
            UserError: the folder is missing, is no run, or comes from a newer version.
        """
        run = cls(Path(folder))
        if not run.folder.is_dir():
            raise UserError(f"{folder}: there is no such run (gptsmith runs lists them)")
        if not (run.folder / SETTINGS).is_file():
            raise UserError(f"{folder} is not a run folder: it holds no {SETTINGS}")
        run.settings()
        return run

    @classmethod
    def create(cls, folder: Path, settings: dict[str, Any], schema: dict[str, Any]) -> Run:
        """A new run with these settings.

        Raises:
            UserError: the folder exists and is not empty.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            is_run = (folder / SETTINGS).is_file()
            raise UserError(
                f"{folder} exists already"
                + (
                    f": choose another --out, or go on with --resume {folder}"
                    if is_run
                    else " and is not a run: choose another --out"
                )
            )
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder)
        write_json(folder / SCHEMA, schema)
        run.write_settings(settings)
        return run

    def settings(self) -> dict[str, Any]:
        """The content of run.toml.

        Raises:
            UserError: it cannot be read, or was written by a newer version.
        """
        settings = read_toml(self.folder / SETTINGS)
        version = settings.pop("format_version", FORMAT_VERSION)
        if version > FORMAT_VERSION:
            raise UserError(
                f"{self.folder / SETTINGS} has format {version}, and this version reads up to {FORMAT_VERSION}: "
                "upgrade gptsmith"
            )
        return settings

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Writes run.toml."""
        text = tomli_w.dumps({"format_version": FORMAT_VERSION, **settings})
        write_atomically(self.folder / SETTINGS, f"#:schema ./{SCHEMA}\n{text}")

    def result(self) -> dict[str, Any] | None:
        """The figures at the end of the run, or nothing where it has not ended."""
        path = self.folder / "result.json"
        return read_json(path) if path.exists() else None

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer."""
        return Tokenizer.load(self.folder)

    def save_checkpoint(
        self,
        step: int,
        model: GPT,
        optimizer_state: dict[str, Tensor],
        randomness: dict[str, Tensor],
        state: dict[str, Any],
    ) -> Checkpoint:
        """Publishes a checkpoint that training can go on from.

        Raises:
            UserError: the disk has no room.
        """

        def fill(folder: Path) -> None:
            write_json(folder / "model.json", model.config.plain())
            write_json(folder / "train_state.json", state)
            save_file(weights(model), folder / "model.safetensors")
            save_file(optimizer_state, folder / "optimizer.safetensors")
            save_file(randomness, folder / "randomness.safetensors")

        return publish_checkpoint(self.checkpoints, step, fill)

    def newest(self, warn: Callable[[str], None]) -> Checkpoint:
        """The newest checkpoint that is whole."""
        return first_good(list_checkpoints(self.checkpoints), self.folder, warn)

    def best(self, warn: Callable[[str], None]) -> Checkpoint:
        """The whole checkpoint with the lowest validation loss; the newest where none was measured."""

        def rank(checkpoint: Checkpoint) -> tuple[float, bool]:
            try:
                state = checkpoint.read("train_state.json")
                loss = state["validation_loss"]
            except (OSError, ValueError, KeyError):
                return float("inf"), True
            # A checkpoint between two evaluations carries the loss of the earlier one, which is not its own.
            inherited = state.get("validation_step") != checkpoint.step
            return (float("inf"), True) if loss is None else (float(loss), inherited)

        return first_good(sorted(list_checkpoints(self.checkpoints), key=rank), self.folder, warn)


def weights(model: GPT) -> dict[str, Tensor]:
    """A model's parameters by name, each once: a tied head is the embedding."""
    return {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}


def load_model(checkpoint: Checkpoint, device: torch.device | str = "cpu") -> GPT:
    """The model of a checkpoint, in evaluation mode.

    Raises:
        UserError: its weights do not have the names and shapes that its config asks for.
    """
    config = GPTConfig.parse(checkpoint.read("model.json"), str(checkpoint.folder / "model.json"))
    with torch.device("meta"):
        model = GPT(config)
    model.to_empty(device="cpu")
    if config.tie_embeddings:
        model.head.weight = model.embedding.weight
    load_weights(model, checkpoint)
    return model.to(device).eval()


def load_weights(model: GPT, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's weights into a model of the same shape.

    Raises:
        UserError: names or shapes differ.
    """
    tensors = load_file(checkpoint.folder / "model.safetensors")
    parameters = dict(model.named_parameters())
    if odd := sorted(tensors.keys() ^ parameters.keys()):
        raise UserError(f"{checkpoint.folder}: weights and config do not agree about {odd[0]}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != tensors[name].shape:
                raise UserError(
                    f"{checkpoint.folder}: {name} has shape {tuple(tensors[name].shape)}, "
                    f"and its config asks for {tuple(parameter.shape)}"
                )
            parameter.copy_(tensors[name])
