"""The study of a search: samples trials and prunes them, for all processes that work on it."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.base.randomness import derived_seed
from gptsmith.run.folder import LOCK
from gptsmith.run.writer import only_writer
from gptsmith.train.search.plan import Range, SearchPlan, trial_folder
from gptsmith.train.search.trials import ended_trial

try:
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    raise MissingExtraError("--trials", "gptsmith[search]") from None

JOURNAL = "study.jsonl"
NUMBER = "number"
STARTUP_TRIALS = 5
"""So many are sampled at random before others are proposed, and so many must have ended before one is pruned."""
NUM_SHARES, FIRST_SHARE = 10, 3
"""After how many shares of its training a trial is compared with the others, and the first of them that counts."""


@dataclass(frozen=True)
class Trial:
    """A trial that this process trains."""

    number: int
    """That of the defaults is 1."""
    folder: Path
    values: dict[str, float]
    """The values that it tries, by the names of the settings."""
    optuna_trial: optuna.Trial
    shares: set[int] = field(default_factory=set)
    """Those at which it was compared."""


class Study:
    """Optuna's study, as lines of JSON in the search's folder.

    A trial belongs to the process that holds the lock of its folder. One that belongs to none has died: its number and
    its values are used for the next trial.
    """

    def __init__(self, folder: Path, plan: SearchPlan) -> None:
        self.folder, self.plan = folder, plan
        self.lock = FileLock(folder / LOCK)
        self.space = {name: _distribution(values) for name, values in plan.ranges.items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal = folder / JOURNAL
        with self.lock:
            backend = JournalFileBackend(str(journal), lock_obj=_SystemLock(self.lock, journal))
            self.study = optuna.create_study(
                storage=JournalStorage(backend),
                study_name="search",
                pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=FIRST_SHARE),
                load_if_exists=True,
            )

    @contextmanager
    def next_trial(self) -> Iterator[Trial | None]:
        """The next trial, this process's own while the block runs, in an empty folder; None if none is left."""
        with ExitStack() as held:
            with self.lock:
                trial = self._begin(held)
            yield trial

    def should_prune(self, trial: Trial, step: int, num_steps: int, loss: float) -> bool:
        """Whether a trial with this validation loss at a step is to be pruned: it was never better than the median of
        the others was after the same share of their steps. The trial of the defaults is never pruned."""
        share = step * NUM_SHARES // num_steps
        if step >= num_steps or share in trial.shares:
            return False
        trial.shares.add(share)
        trial.optuna_trial.report(loss, share)
        return trial.number > 1 and trial.optuna_trial.should_prune()

    def end(self, trial: Trial) -> None:
        """Records what the result.json of a trial says."""
        self._end(trial.optuna_trial.number, trial.number)

    def is_over(self) -> bool:
        """Whether every trial has ended."""
        ended = {trial.user_attrs[NUMBER] for trial in self._trials(TrialState.COMPLETE, TrialState.PRUNED)}
        return len(ended) == self.plan.num_trials

    def _begin(self, held: ExitStack) -> Trial | None:
        for running in self._trials(TrialState.RUNNING):
            if not _is_trained(trial_folder(self.folder, running.user_attrs[NUMBER])):
                self._end(running.number, running.user_attrs[NUMBER])
        number = self._next_number()
        if number is None:
            return None
        folder = trial_folder(self.folder, number)
        folder.mkdir(exist_ok=True)
        held.enter_context(only_writer(folder))
        _empty(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Anew for each trial, because processes and sessions that share a seed would all propose the same.
            self.study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=STARTUP_TRIALS,
                multivariate=True,
                constant_liar=True,
                seed=derived_seed(self.plan.seed, "trial", number) % 2**32,
            )
        optuna_trial = self.study.ask(self.space)
        values = {name: _plain(optuna_trial.params[name], self.plan.ranges[name]) for name in self.plan.ranges}
        return Trial(number, folder, values, optuna_trial)

    def _end(self, optuna_number: int, number: int) -> None:
        """Ends a trial: with its loss, as pruned, or, if its folder holds no result, as one that has died."""
        ended = ended_trial(self.folder, number, self.plan)
        if ended is None:
            self.study.tell(optuna_number, state=TrialState.FAIL)
        elif ended.is_whole:
            self.study.tell(optuna_number, ended.loss)
        else:
            self.study.tell(optuna_number, state=TrialState.PRUNED)

    def _next_number(self) -> int | None:
        """The number of the next trial, which is queued with what is fixed of it; None if none is left."""
        if waiting := self._trials(TrialState.WAITING):  # a process died just here
            return int(waiting[0].user_attrs[NUMBER])
        trials = self._trials(*TrialState)
        begun = {trial.user_attrs[NUMBER] for trial in trials if trial.state != TrialState.FAIL}
        number = min(set(range(1, self.plan.num_trials + 1)) - begun, default=None)
        if number is None:
            return None
        values = {name: _plain(each.default, each) for name, each in self.plan.ranges.items()} if number == 1 else {}
        for died in trials:
            if died.user_attrs[NUMBER] == number:
                values |= died.params
        self.study.enqueue_trial(values, user_attrs={NUMBER: number})
        return number

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states)


class _SystemLock(JournalFileOpenLock):
    """The journal's lock as one that the system opens when a process dies. A line that a crash tore is cut off before
    more is written."""

    def __init__(self, lock: FileLock, journal: Path) -> None:
        self.lock, self.journal = lock, journal

    def acquire(self) -> bool:
        self.lock.acquire()
        with self.journal.open("rb+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.lock.release()


def _distribution(values: Range) -> BaseDistribution:
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _plain(value: float, values: Range) -> float:
    """As a number of Python's own, which JSON and TOML write exactly."""
    return int(value) if values.whole else float(value)


def _is_trained(folder: Path) -> bool:
    """Whether a living process holds the lock of a trial's folder."""
    try:
        with only_writer(folder):
            return False
    except UserError:
        return True


def _empty(folder: Path) -> None:
    """Deletes what a trial that died has left."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
