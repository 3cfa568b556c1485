"""An ordinary run of one whose weights lie in the files of several processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gptsmith.base.files import write_json
from gptsmith.compress.derived_run import derived_run
from gptsmith.compress.settings import DerivedRequest, DerivedSettings
from gptsmith.convert.open import OpenedRun
from gptsmith.run.contents import CheckpointContents, stored_weights
from gptsmith.run.folder import RESULT
from gptsmith.run.privacy_claim import carried_claim
from gptsmith.run.publish import beside, require_place


def join(source: OpenedRun, made_from: str | Path, out: str | Path | None) -> dict[str, Any]:
    """Makes a run with the weights of another's best checkpoint in one file, whole or not at all. One tensor after the
    other is read and written: the model need not fit into memory.

    Returns:
        run, status (`merged`), made_from, step, num_parameters, weight_bytes, num_files (that were joined), seconds.

    Raises:
        UserError: the run cannot be read, or the new folder is in use.
    """
    started = time.monotonic()
    target = Path(out) if out is not None else beside(source.folder, "-merged")
    checkpoint, weights = source.checkpoint, stored_weights(source.checkpoint)
    require_place(target, weights.num_bytes)
    figures = {
        "run": str(target), "status": "merged", "made_from": str(made_from), "step": source.step,
        "num_parameters": weights.num_parameters().total(), "weight_bytes": weights.num_bytes,
        "num_files": len(weights.files), **carried_claim(source.folder, source.result()),
    }  # fmt: skip
    settings = DerivedSettings(
        made_by="merge", request=DerivedRequest(run=str(made_from)), model=source.config, source=source.settings()
    )
    contents = CheckpointContents(
        config=source.config,
        weights=weights,
        settings=settings.plain(),
        environment=checkpoint.environment(),
        train_state=source.train_state(),
    )
    with derived_run(source, target, settings, contents) as made:
        figures["seconds"] = time.monotonic() - started
        write_json(made.folder / RESULT, figures)
    return figures
