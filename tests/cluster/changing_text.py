"""A verb for workers of Ray, one of which has another text than the first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gptsmith.run.checkpoint import Checkpoint
from gptsmith.run.folder import Run
from gptsmith.train.start import Start, following
from gptsmith.workflows import pretrain as workflow


def pretrain(sources: list[str], **arguments: Any) -> dict[str, Any]:
    """`pretrain`, but that the second worker's text is another one when the first has read its own."""

    def follow(run: Run, checkpoint: Checkpoint | None) -> Start:
        for file in Path(sources[0]).iterdir():
            file.write_text(f"{file.read_text(encoding='utf-8')} The young smith sleeps.", encoding="utf-8")
        return following(run, checkpoint)

    if os.environ["RANK"] == "1":
        workflow.following = follow
    return workflow.pretrain(sources, **arguments)
