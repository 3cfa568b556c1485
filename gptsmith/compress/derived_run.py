"""The run folder that is made from another: its tokenizer, template and text, with other weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gptsmith.compress.settings import DerivedSettings
from gptsmith.convert.open import OpenedModel
from gptsmith.data.care.canaries import read_canaries, write_canaries
from gptsmith.run.contents import CheckpointContents
from gptsmith.run.folder import DATA, Run
from gptsmith.run.publish import published_run


@contextmanager
def derived_run(
    source: OpenedModel, target: Path, settings: DerivedSettings, contents: CheckpointContents
) -> Iterator[Run]:
    """The new run, to be completed in the block: it gets its name when the block ends, and vanishes if the block fails.

    Raises:
        UserError: it cannot be written.
    """
    data = source.folder / DATA
    with published_run(
        target, settings, contents, step=source.step, tokenizer=source.tokenizer(), template=source.template(),
        generation=source.generation(), data=data if data.exists() else None,
    ) as made:  # fmt: skip
        made.paths.record(source.paths)
        write_canaries(made.folder, read_canaries(source.folder))
        yield made
