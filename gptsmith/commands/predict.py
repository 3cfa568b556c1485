"""gptsmith predict"""

from __future__ import annotations

from typing import Annotated

import typer

from gptsmith.commands.options import Device


def predict(
    run: Annotated[str, typer.Argument(help="A classifier's run folder.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Records to label: .jsonl, .csv, .parquet.")],
    device: Device = "auto",
) -> None:
    """Label texts with a classifier: one JSON line out for each record, with its probabilities."""
    from gptsmith.base import console
    from gptsmith.workflows.predict import predict as run_predict

    for row in run_predict(run, files, device=device):
        console.show_json(row)
