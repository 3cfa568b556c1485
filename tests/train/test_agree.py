"""Several processes begin one run, and are started again by torchrun."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.run.checkpoint import Checkpoint
from gptsmith.run.distributed import Processes
from gptsmith.run.folder import RESULT, Run
from gptsmith.train.agree import agree, ended_before


class Memory(dict[str, bytes]):
    """The store of torchrun, as one process uses it."""

    def set(self, name: str, value: str) -> None:
        self[name] = value.encode()

    def check(self, names: list[str]) -> bool:
        return all(name in self for name in names)


@dataclass
class Begun:
    run: Run
    checkpoint: Checkpoint | None = None


def follow(run: Run, checkpoint: Checkpoint | None) -> Begun:
    raise AssertionError("there is one process")


def end(folder: Path, step: int) -> dict[str, Any]:
    figures = {"status": "finished", "step": step}
    (folder / RESULT).write_text(json.dumps(figures), encoding="utf-8")
    return figures


def test_processes_that_are_started_again_have_the_figures_of_a_run_that_had_ended(tmp_path: Path) -> None:
    processes = Processes(memory=Memory())
    assert ended_before(processes) is None
    agree(lambda: Begun(Run(tmp_path)), follow, processes)
    assert ended_before(processes) is None
    assert ended_before(processes) is None
    figures = end(tmp_path, 10)
    found = ended_before(processes)
    assert found is not None
    assert figures.items() <= found.items()


def test_the_result_of_before_a_run_was_resumed_does_not_end_it(tmp_path: Path) -> None:
    processes = Processes(memory=Memory())
    end(tmp_path, 10)
    agree(lambda: Begun(Run(tmp_path)), follow, processes)
    assert ended_before(processes) is None
    end(tmp_path, 20)
    assert (ended_before(processes) or {})["step"] == 20
