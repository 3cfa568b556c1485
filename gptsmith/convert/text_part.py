"""The text part of a model of pictures and text, such as Gemma 3's larger ones: it is used as a model of text alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import ConversionError
from gptsmith.convert.safetensors_files import TensorFiles

CONFIG, NAME = "text_config", "language_model."


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the text part; those of the whole model if it has no parts.

    Raises:
        ConversionError: the text part has no settings.
    """
    inner = config.get(CONFIG)
    if inner is None:
        return config
    if not isinstance(inner, Mapping) or "model_type" not in inner:
        raise ConversionError(f"{CONFIG} says no model_type: of which family the model's text part is, is not known")
    return inner


def keep_text_part(folder: Path, files: TensorFiles, head: str) -> None:
    """Leaves the tensors of the text part alone in `files`, under the names of a model of text, and says so.

    Args:
        head: the name of its head.

    Raises:
        ConversionError: there are none.
    """
    names = {name: name.replace(NAME, "", 1) for name in files.shapes if NAME in name or name == head}
    if not names:
        raise ConversionError(f"{folder} has no weights of a text part (expected names with {NAME})")
    num_others = len(files.shapes) - len(names)
    note(f"{folder}: of this model of several parts the text part is used; {num_others:,} other tensors are not read")
    files.rename(names, drops_others=True)
