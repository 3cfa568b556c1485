"""The state of a studio: that of a server, and what it works on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from gptsmith.serve.state import State
from gptsmith.serve.studio.data.state import Data
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.default_model import DefaultModel
from gptsmith.serve.studio.documents.searched import Searched
from gptsmith.serve.studio.improve.beginning import sweep
from gptsmith.serve.studio.improve.improvements import Improvements
from gptsmith.serve.studio.improve.planning import ImprovementPlans
from gptsmith.serve.studio.improve.writing import PairWriter
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.marks.marks import Marks
from gptsmith.serve.studio.place import Place
from gptsmith.serve.studio.run_folders.changes import RunChanges
from gptsmith.serve.studio.run_folders.differences import Differences
from gptsmith.serve.studio.run_folders.rows import Runs
from gptsmith.serve.studio.take_along.copies import Copies
from gptsmith.serve.studio.tickets import Tickets
from gptsmith.serve.studio.train.plans import Plans
from gptsmith.serve.studio.train.training import Training

T = TypeVar("T")
NUM_WAITING = 4


@dataclass
class Studio:
    """What a studio works on.

    Attributes:
        device: where models are loaded and trained.
        tickets: let a browser open one address by a link, which carries no token.
        default_model: answers where none was chosen.
        data: collections of texts.
        searched: those collections that are searched while a person talks.
        jobs: what runs in processes of its own.
        runs: the folders of models that were made.
        run_changes: what people do with them.
        differences: which of theirs are more than chance.
        copies: those for other programs.
        marks: what people said about answers.
        improvements: models that are tuned by them, and judged blind.
        improvement_plans: how long those will take.
        pair_writer: writes the pairs that are judged.
        training: what people want to train, planned and queued.
        quit: ends the server that it belongs to.
    """

    place: Place
    database: Database
    device: str = "auto"
    tickets: Tickets = field(default_factory=Tickets)
    default_model: DefaultModel = field(init=False)
    data: Data = field(init=False)
    searched: Searched = field(init=False)
    jobs: Jobs = field(init=False)
    runs: Runs = field(init=False)
    run_changes: RunChanges = field(init=False)
    differences: Differences = field(init=False)
    copies: Copies = field(init=False)
    marks: Marks = field(init=False)
    improvements: Improvements = field(init=False)
    pair_writer: PairWriter = field(init=False)
    training: Training = field(init=False)
    improvement_plans: ImprovementPlans = field(init=False)
    quit: Callable[[], None] = field(default=lambda: None, init=False)
    _waiting: ThreadPoolExecutor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._waiting = ThreadPoolExecutor(NUM_WAITING, "waiting")
        self.jobs = Jobs(self.database, self.place)
        self.default_model = DefaultModel(self.database)
        self.runs = Runs(self.place, self.default_model, self.jobs)
        self.differences = Differences(self.jobs, self.runs)
        self.copies = Copies(self.place, self.jobs, self.runs)
        self.data = Data(self.place, self.database, self.jobs)
        self.searched = Searched(self.data.collections, self.data.recipes)
        self.marks = Marks(self.database)
        self.improvements = Improvements(self.database, self.jobs)
        self.pair_writer = PairWriter(self.improvements)
        followers = (
            self.copies.renamed, self.default_model.renamed, self.improvements.renamed, self.jobs.renamed,
            self.marks.renamed,
        )  # fmt: skip
        self.run_changes = RunChanges(self.place, self.database, self.jobs, self.runs, followers)
        plans = Plans(self.database, self.jobs)
        self.training = Training(self.place, self.database, self.jobs, self.data, plans, self.device)
        self.improvement_plans = ImprovementPlans(self.place, self.marks, self.jobs, plans, self.device)

    async def when_read(self, work: Callable[[], T]) -> T:
        """The result of a function that may wait until files are read. It has one of a few threads for that, so that
        those of all other requests stay free."""
        return await asyncio.get_running_loop().run_in_executor(self._waiting, partial(copy_context().run, work))

    def end_reading(self) -> None:
        """Ends the reading of files, and the waiting for it."""
        self.searched.close()
        self.data.close()
        self._waiting.shutdown(wait=True, cancel_futures=True)

    def start(self) -> None:
        """Goes on with what it has to do, and with what a studio that was killed had not done."""
        self.run_changes.finish()
        sweep(self.place, self.improvements)
        self.jobs.start()

    def close(self) -> None:
        """Ends its use; jobs go on."""
        self.jobs.close()
        self.end_reading()
        self.database.close()
        self.place.leave()


@dataclass
class StudioState(State):
    """The state that all requests of a studio share."""

    studio: Studio = field(kw_only=True)

    def close(self) -> None:
        """Ends what works for requests; none of them waits for files that are being read any more."""
        super().close()
        self.studio.end_reading()
