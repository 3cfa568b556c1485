"""The GGUF models of a repository on the Hub, of which one is taken: by its quantisation or its file, or by default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from gptsmith.base.errors import ConversionError, did_you_mean
from gptsmith.base.files import readable_bytes
from gptsmith.convert.gguf_header import SHARD, shard_names

SUFFIX = ".gguf"
DEFAULTS = ("Q4_K_M", "Q8_0")
"""The quantisations that are taken where none is named, the first that is there."""
QUANTISATION = re.compile(r"(?:^|[-._ ])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|B?F16|FP16|F32|FP32|MXFP4\w*))$", re.IGNORECASE)
"""At the end of a file's name, or of its folder's."""
NOT_MODELS = re.compile(r"mmproj|imatrix", re.IGNORECASE)
"""In the names of files that belong to a model and are none: projectors of images, statistics for quantising."""


@dataclass(frozen=True)
class GGUFOnHub:
    """A GGUF model on the Hub.

    Attributes:
        files: its files, in their order.
        num_bytes: the size of all of them.
    """

    files: tuple[str, ...]
    num_bytes: int

    @property
    def quantisation(self) -> str:
        """As its name says it, in upper case; empty if it does not."""
        path = PurePosixPath(self.files[0])
        shard = SHARD.fullmatch(path.name)
        for text in (shard[1] if shard else path.stem, path.parent.name):
            if found := QUANTISATION.search(text):
                return found[1].upper()
        return ""

    def __str__(self) -> str:
        return f"{self.files[0]} ({readable_bytes(self.num_bytes)})"


def gguf_models(sizes: Mapping[str, int]) -> list[GGUFOnHub]:
    """The GGUF models among the files of a repository, of which the sizes in bytes are given."""
    files: dict[tuple[str, ...], int] = {}
    for name in sorted(sizes):
        path = PurePosixPath(name)
        if path.suffix == SUFFIX and not NOT_MODELS.search(path.name):
            shards = tuple(str(path.with_name(shard)) for shard in shard_names(path))
            files[shards] = files.get(shards, 0) + sizes[name]
    return [GGUFOnHub(shards, num_bytes) for shards, num_bytes in files.items()]


def choose(repository: str, models: list[GGUFOnHub], choice: str | None) -> GGUFOnHub:
    """One of the GGUF models of a repository.

    Args:
        repository: its name, for errors.
        models: its models; at least one.
        choice: a quantisation, in any case, or a file; the first of `DEFAULTS` that is there, or else the only model,
            if it is None.

    Raises:
        ConversionError: none is so named, several are, or none is the default; all are listed with their sizes.
    """
    if choice is None:
        quantisations = [model.quantisation for model in models]
        choice = next((one for one in DEFAULTS if one in quantisations), None)
        if choice is None and len(models) == 1:
            return models[0]
    if choice is None:
        raise ConversionError(f"{repository} on the Hub holds {_listed(models)}: {_how(repository)}")
    found = [model for model in models if choice in model.files or choice.upper() == model.quantisation]
    if not found:
        by_file = choice.endswith(SUFFIX)
        names = {model.files[0] if by_file else model.quantisation for model in models} - {""}
        hint = did_you_mean(choice if by_file else choice.upper(), names)
        raise ConversionError(
            f"{repository} on the Hub has no GGUF model {choice}: {hint} (it holds {_listed(models)})"
        )
    if len(found) > 1:
        raise ConversionError(
            f"{repository} on the Hub holds several of {choice}, {_listed(found)}: "
            f"name one by its file, as hf:{repository}/{found[0].files[0]}"
        )
    return found[0]


def default_note(repository: str, models: list[GGUFOnHub], taken: GGUFOnHub) -> str:
    """The line for a person about the model that is taken where none is named."""
    others = _listed(model for model in models if model != taken)
    return f"{repository} on the Hub: {taken} is taken; there are also {others}: {_how(repository)}"


def _how(repository: str) -> str:
    return f"choose one by its quantisation, as hf:{repository}:{DEFAULTS[0]}, or by its file, as hf:{repository}/FILE"


def _listed(models: Iterable[GGUFOnHub]) -> str:
    return ", ".join(map(str, models))
