"""The models on this machine that a training can begin with. They are read, and never written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptsmith.base.bounded import read_text
from gptsmith.base.errors import UserError, one_line
from gptsmith.base.files import read_table
from gptsmith.base.machine import free_memory_bytes
from gptsmith.convert.gguf_header import gguf_in, read_header
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.model.cost import cost
from gptsmith.serve.load import Stamps, describe, stamps_of
from gptsmith.serve.model_folders import model_paths, reason_of
from gptsmith.serve.studio.place import RUNS, Place
from gptsmith.train.planning.model_memory import ModelMemory

OLLAMA_MODEL, OLLAMA_LICENCE = (f"application/vnd.ollama.image.{part}" for part in ("model", "license"))
MAX_CARD_BYTES, MAX_LICENCE_CHARACTERS = 1_000_000, 60
CARD_LICENCE = re.compile(r"\A---\n(?:.*\n)*?license:[ \t]*([^\n]+)\n(?:.*\n)*?---", re.MULTILINE)
HUB_NAME = re.compile(r"models--(.+)/snapshots/[^/]+$")


@dataclass(frozen=True)
class FoundModel:
    """A model that a training can begin with, or that cannot be opened.

    Attributes:
        id: its path, in the studio's folder where it lies there.
        name: what people call it.
        place: where it was found: `runs`, `folder`, `huggingface`, `lmstudio` or `ollama`.
        problem: why it cannot be used; empty if it can.
        opened: the model without its weights.
    """

    id: str
    name: str
    place: str
    problem: str = ""
    kind: str = ""
    licence: str = ""
    num_bytes: int = 0
    num_parameters: int = 0
    opened: OpenedModel | None = None
    tuning_bytes: Mapping[str, int] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """It for the page."""
        shown = ("id", "name", "place", "problem", "kind", "licence", "num_bytes", "num_parameters")
        return {name: getattr(self, name) for name in shown}


class FoundModels:
    """What is found in a studio's folder, in those that it may use, and where other programs keep their models. A model
    is opened anew only when its files have changed."""

    def __init__(self, place: Place, home: Path | None = None) -> None:
        """
        Args:
            home: the folder of the person, in which other programs keep theirs.
        """
        self._place = place
        self._home = Path.home() if home is None else home
        self._hub = hub_cache(self._home)
        self._seen: dict[Path, tuple[Stamps, FoundModel]] = {}

    def look(self) -> list[FoundModel]:
        """All that are there now, runs first. It reads files, so that it may take long."""
        found: dict[Path, tuple[Stamps, FoundModel]] = {}
        for place, name, path, licence in self._candidates():
            real = path.resolve()
            if real in found or real.is_relative_to(self._place.own):
                continue
            stamps = stamps_of([path, *(sorted(path.iterdir()) if path.is_dir() else ())])
            known = self._seen.get(real)
            if known is None or known[0] != stamps:
                known = stamps, self._described(place, name, path, licence)
            found[real] = known
        self._seen = found
        return self.seen

    @property
    def seen(self) -> list[FoundModel]:
        """Those that were there when they were looked for last."""
        return [model for _, model in self._seen.values()]

    def get(self, wanted: str) -> FoundModel:
        """The model of an `id`, or the run of a name, looked up among those that are there.

        Raises:
            UserError: there is none, or it cannot be used.
        """
        ids = (wanted, f"{RUNS}/{wanted}")
        known = next((model for model in self.seen if model.id in ids), None)
        model = known or next((model for model in self.look() if model.id in ids), None)
        if model is None:
            raise UserError(f"{one_line(wanted, 200)} is not among the models that were found here")
        if model.problem:
            raise UserError(f"{model.name} cannot be used: {model.problem}")
        return model

    def _candidates(self) -> Iterator[tuple[str, str, Path, str]]:
        """The place, the name, the path and the licence (where it is not beside the weights) of each."""
        place = self._place
        folders: Sequence[tuple[str, Path]] = (
            (RUNS, place.runs),
            ("folder", place.folder),
            *(("folder", folder) for folder in place.allowed),
            ("huggingface", self._hub),
            *(("lmstudio", self._home / folder) for folder in (".lmstudio/models", ".cache/lm-studio/models")),
        )
        for kind, folder in folders:
            for path in model_paths(folder):
                yield kind, _name(path, folder), path, ""
        yield from _of_ollama(self._home / ".ollama" / "models")

    def _described(self, place: str, name: str, path: Path, licence: str) -> FoundModel:
        folder, where = self._place.folder, str(path)
        try:
            path = gguf_in(path) or path
            where = str(path.relative_to(folder) if path.is_relative_to(folder) else path.absolute())
            opened = open_model(path, by_hash=False)
            about = describe(name, opened)
            memory = ModelMemory(name, opened.config, opened.stored_parameters, free_memory_bytes())
            num_parameters = cost(opened.config).num_parameters
            tuning_bytes = memory.tuning_bytes
        except Exception as error:
            return FoundModel(where, name, place, one_line(reason_of(error, path, name), 500))
        kind, size = about.kind, about.file_bytes
        return FoundModel(
            where, name, place, "", kind, licence or licence_of(path), size, num_parameters, opened, tuning_bytes
        )


def hub_cache(home: Path) -> Path:
    """The folder in which Hugging Face's library keeps what it fetched."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given).expanduser()
    top = os.environ.get("HF_HOME")
    return (Path(top).expanduser() if top else home / ".cache" / "huggingface") / "hub"


def licence_of(path: Path) -> str:
    """The licence that a model card or a GGUF file names; empty if none does."""
    with suppress(UserError, OSError, UnicodeError):
        if (file := gguf_in(path)) is not None:
            return one_line(str(read_header(file).keys.get("general.license", "")), MAX_LICENCE_CHARACTERS)
        card = path / "README.md"
        if card.is_file() and (found := CARD_LICENCE.search(read_text(card, MAX_CARD_BYTES))):
            return one_line(found[1].strip("\"' "), MAX_LICENCE_CHARACTERS)
    return ""


def _name(path: Path, folder: Path) -> str:
    """The name of a model that lies in a folder of models."""
    inside = path.relative_to(folder).as_posix()
    if hub := HUB_NAME.search(inside):
        return hub[1].replace("--", "/")
    return inside.removesuffix(".gguf")


def _of_ollama(folder: Path) -> Iterator[tuple[str, str, Path, str]]:
    """The models of Ollama's, whose weights are GGUF files named by their hash."""
    manifests = folder / "manifests"
    for file in sorted(manifests.glob("*/*/*/*")):
        with suppress(UserError, TypeError, AttributeError):
            layers = {str(layer.get("mediaType")): str(layer.get("digest")) for layer in read_table(file)["layers"]}
            weights = folder / "blobs" / layers[OLLAMA_MODEL].replace(":", "-")
            if weights.parent == folder / "blobs" and weights.is_file():
                licence = folder / "blobs" / layers.get(OLLAMA_LICENCE, "none").replace(":", "-")
                first = licence.read_text("utf-8", "replace")[:500].strip() if licence.is_file() else ""
                name = f"{file.parent.name}:{file.name}"
                yield "ollama", name, weights, one_line(first.partition("\n")[0].strip(), MAX_LICENCE_CHARACTERS)
