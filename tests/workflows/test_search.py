"""Settings found on validation data: the best is the result, nothing is lost, nobody looks at the test data."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.leftovers import TEMPORARY
from gptsmith.base.runlog import RunLog
from gptsmith.base.settings import read_toml
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.folder import Run
from gptsmith.run.writer import only_writer
from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.datasets.examples import ExampleDataset
from gptsmith.train.finetuning import prepare_job
from gptsmith.train.objectives.sft import SftSettings
from gptsmith.train.request import FinetuneRequest
from gptsmith.train.search import study
from gptsmith.train.search.plan import DROPOUT, RANK, RATE, ROWS, Range, SearchPlan
from gptsmith.train.search.search import begin_search, search
from gptsmith.train.search.study import Study, Trial
from gptsmith.train.search.trials import ended_trials, search_plan
from gptsmith.train.stability import TrainingDivergedError
from gptsmith.train.trainer import Trainer
from gptsmith.train.tuning_start import requested_table
from tests.callbacks import After, AtStart
from tests.forked import Forked

from .conftest import FLOAT32, SMALL, write_text

SILENT = "train.sample_every_steps=1000"
SHORT = [FLOAT32, SILENT, "train.num_steps=6", "train.batch_size=4", "train.evaluate_every_steps=2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    settings = [*SMALL, SILENT, "model.context_length=96", "train.num_steps=30", "train.batch_size=4"]
    return Path(gptsmith.pretrain([write_text(folder / "smiths")], out=folder / "base", settings=settings)["run"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "chat.jsonl"
    write_questions(path, seed=0)
    return path


def write_questions(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    tools = [chance.choice(("nail", "sword", "plough")) for _ in range(60)]
    records = [{"question": f"{n}: a {tool}?", "answer": f"He forges a {tool}."} for n, tool in enumerate(tools)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@contextmanager
def watched_test_split() -> Iterator[list[int]]:
    """How many trials had ended whenever the test split was scored."""
    looks: list[int] = []
    num_ended = 0
    judge, fit = ExampleDataset.test_figures, Trainer.fit

    def look(self: ExampleDataset, model: Any) -> dict[str, Any]:
        looks.append(num_ended)
        return judge(self, model)

    def end(self: Trainer, started: float) -> dict[str, Any]:
        nonlocal num_ended
        try:
            return fit(self, started)
        finally:
            num_ended += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExampleDataset, "test_figures", look)
        patch.setattr(Trainer, "fit", end)
        yield looks


def refuse_pickles(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a pickle")

    import_module("jinja2")  # makes a version number with a pickle while it is imported
    for name in ("dump", "dumps", "load", "loads"):
        patch.setattr(pickle, name, refuse)


@pytest.fixture(scope="module")
def searched(
    base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[int], list[str]]:
    """A search around bad defaults, how many trials had ended at each look at the test data, and what was said."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch, watched_test_split() as looks:
        refuse_pickles(patch)
        patch.setattr(SftSettings, "usual_learning_rate", 1e-4)
        patch.setattr("gptsmith.train.search.search.note", said.append)
        out = tmp_path_factory.mktemp("runs") / "searched"
        figures = gptsmith.finetune(base, [data], out=out, trials=8, epochs=1, settings=[FLOAT32, SILENT])
    return figures, looks, said


def trials_of(run: str | Path) -> list[Any]:
    plan = search_plan(Path(run))
    assert plan is not None
    return ended_trials(Path(run), plan)


def losses_of(run: str | Path) -> dict[int, float]:
    return {trial.number: trial.loss for trial in trials_of(run)}


def test_better_settings_than_bad_defaults_are_found(searched: Any, base: Path, data: Path, tmp_path: Path) -> None:
    figures, _, _ = searched
    assert figures["status"] == "finished"
    assert figures["validation_loss"] < 0.7 * figures["validation_loss_of_defaults"]
    trials = trials_of(figures["run"])
    assert figures["trials"]["count"] == len(trials) == 8
    best = next(trial for trial in trials if trial.number == figures["best_trial"])
    assert best.values == figures["best_settings"]
    assert figures["validation_loss"] == best.loss == min(trial.loss for trial in trials if trial.is_whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SftSettings, "usual_learning_rate", 1e-4)
        alone = gptsmith.finetune(base, [data], out=tmp_path / "alone", epochs=1, settings=[FLOAT32, SILENT])
    assert figures["validation_loss_of_defaults"] == alone["validation_loss"]


def test_the_run_is_the_best_trial(searched: Any) -> None:
    figures, _, _ = searched
    run = Run.open(figures["run"])
    settings = run.settings()
    best = next(trial for trial in trials_of(run.folder) if trial.number == figures["best_trial"])
    assert settings["train"]["optimizer"]["learning_rate"] == best.values[RATE]
    assert settings["train"]["batch_size"] == best.values[ROWS]
    assert settings["model"]["dropout"] == best.values[DROPOUT]
    ready = prepare_job(settings)
    model = gptsmith.load(run.folder).model
    score = ready.dataset.score(model)
    assert score.validation_loss == pytest.approx(figures["validation_loss"], rel=1e-5)
    assert ready.dataset.final_figures(model)["test_loss"] == pytest.approx(figures["test_loss"], rel=1e-5)
    evaluations = run.log.events("evaluation")
    assert [row["step"] for row in evaluations] == [
        row["step"] for row in RunLog(best.folder / "metrics.jsonl").events("evaluation")
    ]
    assert list_checkpoints(run.checkpoints)
    assert list((run.folder / "search").rglob("*.safetensors")) == []


def test_what_was_set_by_hand_stays(searched: Any) -> None:
    figures, _, _ = searched
    assert set(figures["best_settings"]) == {RATE, ROWS, DROPOUT}
    for trial in trials_of(figures["run"]):
        settings = read_toml(trial.folder / "run.toml")
        assert settings["train"]["sample_every_steps"] == 1000
        assert settings["request"]["epochs"] == 1


def test_the_test_split_is_scored_once_and_by_no_trial(searched: Any) -> None:
    figures, looks, _ = searched
    assert looks == [8]
    assert figures["num_test_examples"] == 6
    assert all("test_loss" not in trial.figures for trial in trials_of(figures["run"]))


def test_each_trial_is_shown_and_pruned_ones_are_marked(searched: Any) -> None:
    figures, _, said = searched
    pruned = [trial for trial in trials_of(figures["run"]) if trial.figures["status"] == "pruned"]
    assert figures["trials"]["pruned"] == len(pruned) > 0
    for trial in pruned:
        num_steps = read_toml(trial.folder / "run.toml")["train"]["num_steps"]
        assert trial.figures["step"] < num_steps
        assert trial.figures["share"] == trial.figures["step"] / num_steps
        assert not trial.is_whole
    lines = [line for line in said if "trial" in line]
    for number in range(1, 9):
        (line,) = [line for line in lines if f"trial {number} of 8" in line]
        assert ("pruned at" in line) == (number in [trial.number for trial in pruned])
        assert "learning rate" in line
    assert str(said[0]).endswith("8 trials of learning rate 0.0001 to 0.01, batch size 1 to 12, dropout 0 to 0.3")
    assert "the best so far" in lines[1]


def test_nothing_in_the_folder_is_a_pickle(searched: Any) -> None:
    files = [path for path in Path(searched[0]["run"]).rglob("*") if path.is_file()]
    assert any(path.name == study.JOURNAL for path in files)
    for path in files:
        assert path.suffix not in (".pkl", ".pickle", ".pt", ".db")
        content = path.read_bytes()
        assert not content.startswith((b"\x80", b"PK"))
        assert b"pickle" not in content


@contextmanager
def in_the_second_trial(action: Callable[[Trainer], None]) -> Iterator[None]:
    """Calls `action` in the second trial, at its third step, once."""
    done: list[bool] = []

    def act(trainer: Trainer) -> None:
        if trainer.run.folder.name == "trial-0002" and not done:
            done.append(True)
            action(trainer)

    with more_callbacks(After(3, act)):
        yield


@pytest.fixture(scope="module")
def unstopped(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("runs") / "unstopped"
    return gptsmith.finetune(base, [data], out=out, trials=4, settings=SHORT)


def test_a_stopped_search_resumes_as_if_it_had_not_stopped(
    base: Path, data: Path, unstopped: dict[str, Any], tmp_path: Path
) -> None:
    def ask_to_stop(trainer: Trainer) -> None:
        signal.raise_signal(signal.SIGTERM)

    with in_the_second_trial(ask_to_stop):
        first = gptsmith.finetune(base, [data], out=tmp_path / "run", trials=4, settings=SHORT)
    assert (first["status"], first["signal"], first["trials"]["count"]) == ("stopped", "SIGTERM", 1)
    again = gptsmith.finetune(base, [data], out=tmp_path / "run", trials=4, settings=SHORT)
    assert (again["status"], again["trials"]["count"]) == ("finished", 4)
    assert losses_of(tmp_path / "run") == losses_of(unstopped["run"])
    assert again["best_settings"] == unstopped["best_settings"]
    assert again["test_loss"] == unstopped["test_loss"]
    anew = RunLog(tmp_path / "run" / "search" / "trial-0002" / "metrics.jsonl")
    assert [row["step"] for row in anew.events("start")] == [0]
    with pytest.raises(UserError, match="is finished"):
        gptsmith.finetune(resume=tmp_path / "run")


def test_a_trial_that_died_is_run_anew(base: Path, data: Path, unstopped: dict[str, Any], tmp_path: Path) -> None:
    def die(_: Trainer) -> None:
        raise RuntimeError("the machine is gone")

    with in_the_second_trial(die), pytest.raises(RuntimeError, match="the machine is gone"):
        gptsmith.finetune(base, [data], out=tmp_path / "run", trials=4, settings=SHORT)
    again = gptsmith.finetune(resume=tmp_path / "run")
    assert again["trials"]["count"] == 4
    assert losses_of(tmp_path / "run") == losses_of(unstopped["run"])


KILLED = """
import json, os, random, signal, sys
from pathlib import Path
import gptsmith, gptsmith.train.search.search

base, data, out, settings = sys.argv[1:]
fsync = os.fsync

def search(last_fsync):
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    left = [last_fsync]
    def counted(descriptor):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)
    os.fsync = counted
    gptsmith.finetune(base, [data], out=out, trials=4, settings=json.loads(settings))
    os._exit(0)

def ended():
    results = Path(out).glob("search/trial-*/result.json")
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8"))["validation_loss"] for path in results}

chance = random.Random(0)
seen = []
for last_fsync in [*(chance.randrange(1, 60) for _ in range(8)), 0]:
    seen.append([search(last_fsync), ended()])
print(json.dumps(seen))
"""


@pytest.mark.skipif(os.name == "nt", reason="the signals are those of POSIX")
@pytest.mark.story
def test_a_search_that_is_killed_anywhere_goes_on_by_the_same_command_and_loses_no_ended_trial(
    base: Path, data: Path, unstopped: dict[str, Any], tmp_path: Path
) -> None:
    process = Forked(base, data, tmp_path / "run", json.dumps(SHORT), program=KILLED, cwd=tmp_path)
    out, err = process.communicate()
    assert process.poll() == 0, err
    seen = json.loads(out.splitlines()[-1])
    assert [code for code, _ in seen].count(-signal.SIGKILL) >= 4, seen
    assert seen[-1][0] == 0, err
    for (_, before), (_, after) in pairwise(seen):
        assert before.items() <= after.items()
    assert losses_of(tmp_path / "run") == losses_of(unstopped["run"])
    assert Run.open(tmp_path / "run").result()["test_loss"] == unstopped["test_loss"]
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))


@pytest.mark.story
def test_two_processes_share_the_trials(base: Path, data: Path, unstopped: dict[str, Any], tmp_path: Path) -> None:
    """While this process is in its second trial, another one comes, trains all that are left, and goes."""
    command = ["finetune", base, data, "--out", tmp_path / "run", "--trials", 4, "--json"]
    command += [part for value in SHORT for part in ("--set", value)]
    other: list[dict[str, Any]] = []

    def meanwhile(_: Trainer) -> None:
        out, err = Forked(*command).communicate()
        other.append(json.loads(out))
        first_words = {line.partition(" ")[0] for line in err.splitlines()[1:]}
        assert first_words - {"trials:"} == {"trial", "other"}, "progress of the search only, not of a trial"

    with in_the_second_trial(meanwhile):
        figures = gptsmith.finetune(base, [data], out=tmp_path / "run", trials=4, settings=SHORT)
    assert [each["status"] for each in other] == ["shared_search"]
    assert other[0]["trials"]["count"] == 3
    assert (figures["status"], figures["trials"]["count"]) == ("finished", 4)
    assert figures["validation_loss_of_defaults"] == unstopped["validation_loss_of_defaults"]
    for trial in trials_of(tmp_path / "run"):
        assert len(RunLog(trial.folder / "metrics.jsonl").events("start")) == 1
    tried = [tuple(trial.values.values()) for trial in trials_of(tmp_path / "run")]
    assert len(set(tried)) == 4


def test_who_comes_when_the_trials_are_done_makes_the_result(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise RuntimeError("the machine is gone")

    with monkeypatch.context() as patch, watched_test_split() as looks:
        patch.setattr("gptsmith.train.search.search.load_weights", die)
        with pytest.raises(RuntimeError):
            gptsmith.finetune(base, [data], out=tmp_path / "run", trials=2, settings=SHORT)
        patch.undo()
        with only_writer(tmp_path / "run"):
            assert gptsmith.finetune(resume=tmp_path / "run")["status"] == "shared_search"
        figures = gptsmith.finetune(resume=tmp_path / "run")
        assert search(Run.open(tmp_path / "run"), None, 0.0) == figures
    assert (figures["trials"]["count"], looks) == (2, [2])


def test_a_trial_that_diverges_counts(base: Path, data: Path, tmp_path: Path) -> None:
    def diverge(trainer: Trainer) -> None:
        with torch.no_grad():
            trainer.model.head_weight.fill_(float("nan"))

    hopeless = ["train.stability.max_skips=1", "train.stability.max_rollbacks=0"]
    with in_the_second_trial(diverge):
        figures = gptsmith.finetune(base, [data], out=tmp_path / "run", trials=2, settings=[*SHORT, *hopeless])
    assert figures["trials"] == {"count": 2, "pruned": 0, "diverged": 1}
    assert figures["best_trial"] == 1


def test_if_every_trial_diverges_there_is_no_result(base: Path, data: Path, tmp_path: Path) -> None:
    def diverge(*_: Any) -> None:
        raise TrainingDivergedError("the loss is nan")

    with more_callbacks(AtStart(diverge)), pytest.raises(UserError, match=r"all 2 trials of .* diverged"):
        gptsmith.finetune(base, [data], out=tmp_path / "run", trials=2, settings=SHORT)
    assert not (tmp_path / "run" / "result.json").exists()


def test_the_rank_of_adapters_is_searched(base: Path, data: Path, tmp_path: Path) -> None:
    figures = gptsmith.finetune(base, [data], out=tmp_path / "run", lora=4, trials=2, settings=SHORT)
    assert figures["best_settings"].keys() == {RATE, DROPOUT, RANK}
    ranks = set()
    for trial in trials_of(tmp_path / "run"):
        linear = read_toml(trial.folder / "run.toml")["model"]["linear"]
        assert (linear["rank"], linear["alpha"]) == (trial.values[RANK], 2 * trial.values[RANK])
        ranks.add(linear["rank"])
    assert len(ranks) > 1
    assert ranks <= set(range(1, 17))
    assert gptsmith.load(tmp_path / "run").config.linear.rank == figures["best_settings"][RANK]


def test_data_that_changed_is_noticed(base: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    write_questions(data, seed=0)

    def change(trainer: Trainer) -> None:
        signal.raise_signal(signal.SIGTERM)
        write_questions(data, seed=9)

    with in_the_second_trial(change):
        gptsmith.finetune(base, [data], out=tmp_path / "run", trials=3, settings=SHORT)
    with pytest.raises(UserError, match="has changed since its search began"):
        gptsmith.finetune(resume=tmp_path / "run")


def test_bad_input_is_one_line_and_leaves_nothing(
    base: Path, data: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(words: str, *arguments: object) -> None:
        outcome = call("finetune", *arguments)
        assert outcome.code == 2, outcome.err
        assert "Traceback" not in outcome.err
        last = outcome.err.splitlines()[-1]
        assert last.startswith("gptsmith: ")
        assert words in last
        assert not Path("out").exists()

    search = (base, data, "--out", "out", "--trials")
    refused("trials: must be greater than 0 (given: 0, from --trials)", *search, 0)
    refused("--resume uses the run's own base, data and trials", "--resume", base, "--trials", 3)
    all_set = [part for value in [*SHORT, f"{RATE}=1e-3", f"{DROPOUT}=0"] for part in ("--set", value)]
    refused("nothing left to search: learning rate, batch size, epochs, dropout are all set", *search, 3, *all_set)
    refused(
        "nothing left to search", *search, 3, *all_set, "--lora", 4, "--set", "model.linear.rank=4"
    )  # a rank that is only given by --lora is searched
    refused(
        "compares settings on validation data, and there is none", *search, 3, "--set", "examples.validation_fraction=0"
    )
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in ("search", "study"):
        monkeypatch.delitem(sys.modules, f"gptsmith.train.search.{name}")
    refused("--trials needs a library that is not installed: pip install 'gptsmith[search]'", *search, 3)


def test_who_begins_the_same_search_at_the_same_time_joins_it(base: Path, data: Path, tmp_path: Path) -> None:
    table = requested_table(FinetuneRequest(base=base, sources=[data], trials=2, settings=SHORT))
    ready = prepare_job(table, final_evaluations=False)
    run = begin_search(tmp_path / "run", table, ready)
    plan = search_plan(run.folder)
    assert begin_search(tmp_path / "run", table, ready).folder == run.folder
    other = requested_table(FinetuneRequest(base=base, sources=[data], trials=3, settings=SHORT))
    with pytest.raises(UserError, match="exists already"):
        begin_search(tmp_path / "run", other, ready)
    assert search_plan(run.folder) == plan
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_search_resumes_only_with_its_own_settings(base: Path, data: Path, tmp_path: Path) -> None:
    def ask_to_stop(trainer: Trainer) -> None:
        signal.raise_signal(signal.SIGTERM)

    with in_the_second_trial(ask_to_stop):
        gptsmith.finetune(base, [data], out=tmp_path / "run", trials=2, settings=SHORT)
    with pytest.raises(UserError, match="leave out --set"):
        gptsmith.finetune(resume=tmp_path / "run", settings=["train.batch_size=2"])
    with pytest.raises(UserError, match="exists already"):
        gptsmith.finetune(base, [data], out=tmp_path / "run", trials=3, settings=SHORT)


PLAN = SearchPlan(
    table={"request": {}, "train": {"optimizer": "muon"}},
    ranges={RATE: Range(default=1e-3, low=1e-4, high=1e-2, log=True), DROPOUT: Range(default=0.1, low=0, high=0.3)},
    num_trials=12,
    seed=1,
)


def write_result(trial: Trial, loss: float | None) -> None:
    """Writes what training leaves of a trial with that loss, or of a pruned one if it is None."""
    figures = {"status": "pruned"} if loss is None else {"status": "finished", "validation_loss": loss}
    (trial.folder / "run.toml").write_text("", encoding="utf-8")
    (trial.folder / "result.json").write_text(json.dumps(figures), encoding="utf-8")


def end_next(trials: Study, loss: float | None) -> int:
    """Ends the next trial with that loss; returns its number."""
    with trials.next_trial() as trial:
        assert trial is not None
        write_result(trial, loss)
        trials.end(trial)
        return trial.number


def test_a_trial_is_pruned_if_it_is_worse_than_the_median_and_not_before_some_have_ended(tmp_path: Path) -> None:
    trials = Study(tmp_path, PLAN)
    for number in range(1, 7):
        with trials.next_trial() as trial:
            assert trial is not None
            losses = {20: 9.0, 40: 9.0 - number, 100: 1.0}
            assert not any(trials.should_prune(trial, step, 100, loss) for step, loss in losses.items())
            write_result(trial, 1.0)
            trials.end(trial)
    with trials.next_trial() as trial:
        assert trial is not None
        assert not trials.should_prune(trial, 20, 100, 99.0), "too early to tell"
        assert trials.should_prune(trial, 40, 100, 5.6)
        assert not trials.should_prune(trial, 41, 100, 99.0), "this share has been compared"
        assert not trials.should_prune(trial, 100, 100, 99.0), "it has ended"


def test_the_trial_of_the_defaults_is_never_pruned(tmp_path: Path) -> None:
    trials = Study(tmp_path, PLAN)
    with trials.next_trial() as defaults:
        assert defaults is not None
        assert defaults.values == {RATE: 1e-3, DROPOUT: 0.1}
        others = Study(tmp_path, PLAN)
        for number in range(2, 9):
            with others.next_trial() as trial:
                assert trial is not None
                assert trial.number == number
                others.should_prune(trial, 50, 100, 1.0)
                write_result(trial, 1.0)
                others.end(trial)
        assert not trials.should_prune(defaults, 50, 100, 99.0)


def test_a_trial_that_died_is_the_next_one_with_its_number_and_values(tmp_path: Path) -> None:
    trials = Study(tmp_path, PLAN)
    end_next(trials, 1.0)
    with trials.next_trial() as dead:
        assert dead is not None
        (dead.folder / "left").mkdir()
        assert [end_next(Study(tmp_path, PLAN), 1 / number) for number in range(3, 10)] == [*range(3, 10)]
    with Study(tmp_path, PLAN).next_trial() as again:
        assert again is not None
        assert (again.number, again.values) == (dead.number, dead.values)
        assert [path.name for path in again.folder.iterdir()] == [".lock"]


def test_a_trial_whose_process_died_after_it_had_ended_is_not_run_anew(tmp_path: Path) -> None:
    trials = Study(tmp_path, PLAN)
    with trials.next_trial() as trial:
        assert trial is not None
        write_result(trial, 1.0)
    assert end_next(Study(tmp_path, PLAN), 2.0) == 2
    assert (trial.folder / "result.json").exists()


def test_trials_end(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"num_trials": 3})
    trials = Study(tmp_path, plan)
    assert [end_next(trials, loss) for loss in (1.0, None, float("nan"))] == [1, 2, 3]
    assert [trial.state.name for trial in trials.study.trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert trials.is_over()
    with trials.next_trial() as none:
        assert none is None


def test_a_line_of_the_journal_that_a_crash_tore_does_no_harm(tmp_path: Path) -> None:
    end_next(Study(tmp_path, PLAN), 1.0)
    with (tmp_path / study.JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"worker_')
    assert end_next(Study(tmp_path, PLAN), 1.0) == 2
    assert end_next(Study(tmp_path, PLAN), 1.0) == 3


def test_what_is_sampled_depends_on_the_seed_and_the_ended_trials_only(tmp_path: Path) -> None:
    def values(folder: Path, sittings: int) -> list[dict[str, float]]:
        folder.mkdir()
        found = []
        trials = Study(folder, PLAN)
        for number in range(12):
            if number % sittings == 0:
                trials = Study(folder, PLAN)
            with trials.next_trial() as trial:
                assert trial is not None
                found.append(trial.values)
                write_result(trial, abs(trial.values[RATE] - 3e-3))
                trials.end(trial)
        return found

    alone = values(tmp_path / "alone", 12)
    assert alone == values(tmp_path / "often", 1)
    assert len({each[RATE] for each in alone}) == 12


def test_the_name_of_an_optimizer_stays_beside_its_rate() -> None:
    table = PLAN.table_of({RATE: 2.5e-05, DROPOUT: 0.0})
    assert table["train"]["optimizer"] == {"kind": "muon", "learning_rate": 2.5e-05}
    assert table["model"] == {"dropout": 0.0}
