"""gptsmith predict"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.workflows.requests import PredictRequest


@command(
    PredictRequest,
    arguments={"run": "RUN", "files": "FILE..."},
    panels={"Data": ("encoding", "encoding_errors"), "Machine": ("device",)},
    examples=("gptsmith predict runs/mine-classification new.csv", "gptsmith predict runs/spam mail.jsonl > out.jsonl"),
)
def predict(request: PredictRequest, json: Json = True) -> None:
    """Label texts with a classifier: one JSON line per record, with probabilities."""
    from gptsmith.base import console
    from gptsmith.workflows.predict import predict as run_predict

    rows = run_predict(
        request.run,
        request.files,
        device=request.device,
        encoding=request.encoding,
        encoding_errors=request.encoding_errors,
    )
    for row in rows:
        console.show_json(row)
