"""A whole new run, or none at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptsmith.base.files import published_folder, require_room, write_json
from gptsmith.base.settings import Settings
from gptsmith.run.checkpoint import publish_checkpoint
from gptsmith.run.contents import CheckpointContents
from gptsmith.run.folder import DATA, GENERATION, Run, require_free
from gptsmith.run.writer import SPARE_BYTES
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer


def require_place(target: Path, num_bytes: int) -> None:
    """Checks before a long job that a new run with this many bytes of weights can be made there.

    Raises:
        UserError: the folder is in use, or its disk has no room.
    """
    require_free(target)
    require_room(target, num_bytes + SPARE_BYTES, "the new run")


@contextmanager
def published_run(
    target: Path,
    settings: Settings,
    contents: CheckpointContents,
    *,
    step: int = 0,
    tokenizer: Tokenizer,
    template: ChatTemplate | None = None,
    generation: Mapping[str, Any] | None = None,
    data: Path | None = None,
    overwrite: bool = False,
) -> Iterator[Run]:
    """A run with one checkpoint, to be completed in the block: it gets its name when the block ends, and vanishes if
    the block fails.

    Args:
        data: a data.json to copy.
        overwrite: whether an older folder gives way.

    Raises:
        UserError: the folder is in use, or its disk has no room.
    """
    if not overwrite:
        require_free(target)
    with published_folder(target, overwrite=overwrite, private=True) as folder:
        run = Run.create(folder, settings, type(settings))
        tokenizer.save(folder)
        if template is not None:
            template.save(folder)
        if generation:
            write_json(folder / GENERATION, dict(generation))
        if data is not None:
            shutil.copyfile(data, folder / DATA)
        publish_checkpoint(run.checkpoints, step, contents.write)
        yield run


def model_name(path: str | Path) -> str:
    """The name of a model that lies there: that of its folder, or of its file without `.gguf`."""
    return Path(path).resolve().name.removesuffix(".gguf")


def beside(folder: str | Path, suffix: str) -> Path:
    """The folder next to another, or next to a model's file, whose name has `suffix` behind it."""
    path = Path(folder)
    named = path if path.name not in ("", "..") else path.resolve()
    return named.with_name(named.name.removesuffix(".gguf") + suffix)
