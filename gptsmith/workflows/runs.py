"""The runs in a folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gptsmith.base.errors import GptsmithError, one_line
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.folder import SETTINGS, Run
from gptsmith.run.remote import fetch_summaries
from gptsmith.store.objects import is_remote


def runs(folder: str | Path = "runs") -> list[dict[str, Any]]:
    """A row for each run in `folder`, which may be the URL of an object store, by name: run, status, step,
    num_parameters, validation_loss, bits_per_byte.

    A run whose files cannot be read has the reason as its status.

    Raises:
        UserError: the store cannot be read.
    """
    if is_remote(folder):
        with TemporaryDirectory() as here:
            fetch_summaries(folder, Path(here))
            place = str(folder).rstrip("/")
            return [{**row, "run": f"{place}/{Path(row['run']).name}"} for row in runs(here)]
    rows = []
    for path in sorted(Path(folder).glob(f"*/{SETTINGS}")):
        run = Run(path.parent)
        row: dict[str, Any] = {"run": str(path.parent)}
        try:
            run.settings()
            result = run.result()
            newest = next(iter(list_checkpoints(run.checkpoints)), None)
            if result is not None:
                row |= {"status": result["status"], **{key: result.get(key) for key in FIGURES}}
            elif newest is not None:
                loss = newest.train_state().validation_loss
                row |= {"status": "not finished", "step": newest.step, "validation_loss": loss}
            else:
                row |= {"status": "no checkpoint yet"}
        except (GptsmithError, OSError) as error:
            row["status"] = one_line(error, 200)
        rows.append(row)
    return rows


FIGURES = ("step", "num_parameters", "validation_loss", "bits_per_byte")
