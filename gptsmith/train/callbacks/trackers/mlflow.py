"""MLflow: a run of an experiment, in a database in the run's folder or on the server that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gptsmith.base.errors import MissingExtraError
from gptsmith.train.callbacks.trackers.tracker import Tracker

PARAMETERS_PER_REQUEST = 100
"""As many as MLflow takes at once."""


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


class MlflowTracker(Tracker):
    """A run of an MLflow experiment, which gets the settings as parameters. A resumed run goes on in the same one."""

    def start(self, run: Path, settings: dict[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at the import
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
        except ImportError:
            raise MissingExtraError("track.mlflow", "gptsmith[mlflow]") from None
        self.metric = Metric
        folder = (run / "mlflow").resolve()
        folder.mkdir(exist_ok=True)
        server = os.environ.get("MLFLOW_TRACKING_URI")
        self.client = MlflowClient(tracking_uri=server or f"sqlite:///{folder / 'mlflow.db'}")
        known = folder / "run_id.txt"
        place = server or "local"
        if known.exists() and (found := known.read_text(encoding="utf-8").split("\n"))[1] == place:
            self.run_id = found[0]
            self.client.update_run(self.run_id, status="RUNNING")
            return
        experiment = self.client.get_experiment_by_name(self.name)
        artifacts = None if server else folder.as_uri()
        experiment_id = experiment.experiment_id if experiment else self.client.create_experiment(self.name, artifacts)
        self.run_id = self.client.create_run(experiment_id, run_name=run.name).info.run_id
        known.write_text(f"{self.run_id}\n{place}\n", encoding="utf-8")
        parameters = [Param(key, value) for key, value in _flat(settings)]
        for start in range(0, len(parameters), PARAMETERS_PER_REQUEST):
            self.client.log_batch(self.run_id, params=parameters[start : start + PARAMETERS_PER_REQUEST])

    def log(self, event: str, figures: dict[str, float], step: int) -> None:
        now_ms = int(time.time() * 1000)
        metrics = [self.metric(f"{event}/{name}", value, now_ms, step) for name, value in figures.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def close(self) -> None:
        self.client.set_terminated(self.run_id)
