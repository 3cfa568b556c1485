"""Several processes tune as one does, whatever the objective, and what two began one goes on with."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from tests.workflows import process_worker
from tests.workflows.conftest import SMALL
from tests.workflows.together import Job, Outcome, assert_same, cut, same_bits, work

pytestmark = pytest.mark.story

BASE = [*SMALL, "model.embed_dim=32", "model.context_length=64", "train.num_steps=4"]
EXACT = [
    "train.dtype=float64", "train.num_steps=10", "train.batch_size=4", "train.evaluate_every_steps=4",
    "train.sample_every_steps=6", "checkpoint.every_steps=1", "checkpoint.keep_every_steps=1",
    "examples.validation_fraction=0.2", "examples.test_fraction=0.1",
]  # fmt: skip
GRPO = [
    "train.objective.reward=pattern:[aeiou].*s", "train.objective.max_tokens=6", "train.objective.group_size=2",
    "train.objective.kl_coef=0.5", "train.optimizer.learning_rate=1e-3",
]  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("chats", {}),
    "lora": ("chats", {"lora": 2}),
    "dpo": ("pairs", {"objective": "dpo"}),
    "kto": ("marks", {}),
    "int8": ("chats", {"lora": 2}),
    "grpo": ("chats", {"objective": "grpo", "settings": GRPO}),
    "grpo-lora": ("chats", {"objective": "grpo", "lora": 2, "settings": [*GRPO, "train.objective.max_resamples=1"]}),
    "grpo-int8": ("chats", {"objective": "grpo", "lora": 2, "settings": GRPO}),
    "simpo": ("pairs", {"objective": "simpo"}),
    "reward_model": ("pairs", {"objective": "reward_model"}),
    "classification": ("labels", {}),
    "next_token": ("texts", {}),
    "distillation": ("chats", {"objective": "distillation"}),
}
REPLICATED = [name for name in KINDS if name not in ("grpo-lora", "grpo-int8")]
SHARDED = (
    "sft", "lora", "kto", "int8", "dpo", "classification", "distillation", "grpo", "grpo-lora", "grpo-int8",
)  # fmt: skip
MOVED = ("lora", "grpo", "classification")
"""Those that are cut and resumed by another number of processes."""
KILLED = ("grpo", "grpo-lora-sharded")


def records() -> dict[str, list[dict[str, Any]]]:
    """Examples of each shape."""
    chance = random.Random(0)
    things = [f"{number}: {chance.choice(['a nail', 'a sword', 'a plough'])}?" for number in range(30)]
    right, wrong = "The smith forges it.", "No."
    return {
        "chats": [{"question": thing, "answer": f"{right} It is {thing[3:-1]}."} for thing in things],
        "pairs": [{"prompt": thing, "chosen": right, "rejected": f"{wrong} {thing}"} for thing in things],
        "marks": [
            {"prompt": thing, "completion": right if number % 2 else wrong, "label": bool(number % 2)}
            for number, thing in enumerate(things)
        ],
        "labels": [{"text": thing, "label": thing.split()[-1]} for thing in things],
        "texts": [{"text": f"{thing} {right} {thing * 2}"} for thing in things],
    }


@pytest.fixture(scope="module")
def jobs(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """What is to be tuned, by name, without its folder."""
    folder = tmp_path_factory.mktemp("tuned")
    gptsmith.pretrain([text], out=folder / "base", settings=BASE)
    gptsmith.compress(folder / "base", to="int8", out=folder / "int8")
    paths = {}
    for name, rows in records().items():
        paths[name] = folder / f"{name}.jsonl"
        paths[name].write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    found = {}
    for name, (data, more) in KINDS.items():
        settings = [*EXACT, *more.get("settings", [])]
        if name == "distillation":
            settings.append(f"train.objective.teacher={folder / 'base'}")
        found[name] = {
            **more,
            "base": str(folder / ("int8" if name.endswith("int8") else "base")),
            "sources": [str(paths[data])],
            "settings": settings,
        }
    return found


@pytest.fixture(scope="module")
def alone(jobs: dict[str, Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of one process for each job."""
    folder = tmp_path_factory.mktemp("alone")
    for name, job in jobs.items():
        gptsmith.finetune(**{**job, "out": folder / name})
    return folder


@pytest.fixture(scope="module")
def together(jobs: dict[str, Job], alone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A folder with the same runs of two processes, and what they said; some are sharded, too."""
    folder = tmp_path_factory.mktemp("together")
    ours = {name: {**jobs[name], "out": str(folder / name)} for name in REPLICATED}
    sharded: dict[str, Job] = {}
    for name in SHARDED:
        settings = [*jobs[name]["settings"], "parallel.shard=true"]
        sharded[f"{name}-sharded"] = {**jobs[name], "out": str(folder / f"{name}-sharded"), "settings": settings}
    odd = [*jobs["sft"]["settings"], "train.batch_size=5"]
    ours["odd"] = {**jobs["sft"], "out": str(folder / "odd"), "settings": odd}
    rounded = [each for each in EXACT if "batch_size" not in each]
    rounded += ["examples.validation_fraction=0", "examples.test_fraction=0"]
    ours["rounded"] = {**jobs["sft"], "out": str(folder / "rounded"), "settings": rounded}
    ours["trials"] = {**jobs["sft"], "out": str(folder / "trials"), "trials": 2}
    for name in MOVED:
        ours[f"{name}-moved"] = {"tunes": True, "resume": str(cut(alone / name, folder / f"{name}-moved", 3))}
    (folder / "sharded").mkdir()
    plain, of_sharded = work(folder, 2, ours), work(folder / "sharded", 2, sharded)
    return folder, lambda name: of_sharded(name) if name in sharded else plain(name)


@pytest.fixture(scope="module")
def four(jobs: dict[str, Job], together: tuple[Path, Outcome], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of four processes, and some that two began and four ended."""
    folder = tmp_path_factory.mktemp("four")
    ours: dict[str, Job] = {name: {**jobs[name], "out": str(folder / name)} for name in ("grpo", "classification")}
    for name in MOVED:
        moved = cut(together[0] / f"{name}-moved", folder / f"{name}-moved", 6)
        ours[f"{name}-moved"] = {"tunes": True, "resume": str(moved), "settings": ["parallel.shard=true"]}
    work(folder, 4, ours)
    return folder


def shares(run: Path) -> list[float]:
    """The shares that a run has logged of groups that taught nothing, which are those of all processes."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [step["idle_group_fraction"] for step in map(json.loads, lines) if "idle_group_fraction" in step]


@pytest.mark.parametrize("name", [*REPLICATED, *(f"{name}-sharded" for name in SHARDED)])
def test_two_processes_tune_as_one_does(alone: Path, together: tuple[Path, Outcome], tmp_path: Path, name: str) -> None:
    kind = name.removesuffix("-sharded")
    golden = json.loads((alone / kind / "result.json").read_text(encoding="utf-8"))
    folder, outcome = together
    every_figures, said = outcome(name)
    for figures in every_figures:
        assert figures["status"] == "finished"
        for key, value in golden.items():
            if key not in ("run", "seconds", "tokens_per_second"):
                assert figures[key] == (pytest.approx(value, abs=1e-12) if isinstance(value, float) else value), key
    assert said.count("step 10: validation loss") == 1
    assert_same(folder / name, alone / kind, 1e-12)
    assert shares(folder / name) == shares(alone / kind)
    if name == "kto":  # what two wrote, one resumes
        moved = cut(folder / name, tmp_path / "moved", 5)
        gptsmith.finetune(resume=moved)
        assert_same(moved, alone / kind, 1e-12)


@pytest.mark.parametrize("name", ["grpo", "classification"])
def test_four_processes_tune_as_one_does(alone: Path, four: Path, name: str) -> None:
    assert_same(four / name, alone / name, 1e-12)


@pytest.mark.parametrize("name", MOVED)
def test_a_run_moves_from_one_process_to_two_to_four_and_back(
    alone: Path, together: tuple[Path, Outcome], four: Path, tmp_path: Path, name: str
) -> None:
    assert "num_processes was 1 and is 2" in together[1](f"{name}-moved")[1]
    assert_same(together[0] / f"{name}-moved", alone / name, 1e-12)
    assert_same(four / f"{name}-moved", alone / name, 1e-12)
    back = cut(four / f"{name}-moved", tmp_path / "back", 8)
    gptsmith.finetune(resume=back)
    assert_same(back, alone / name, 1e-12)


def test_killed_workers_come_back_and_tune_on_bit_for_bit(
    jobs: dict[str, Job], together: tuple[Path, Outcome], tmp_path: Path
) -> None:
    ours: list[Job] = []
    for number, name in enumerate(KILLED):
        job = jobs[name.removesuffix("-sharded")]
        settings = [*job["settings"], *(["parallel.shard=true"] if name.endswith("-sharded") else [])]
        ours.append({**job, "out": str(tmp_path / name), "settings": settings, "kill_at": (4 + number, number)})
    (tmp_path / "jobs.json").write_text(json.dumps(ours), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--max-restarts={len(KILLED)}"]
    command += ["-m", process_worker.__name__, str(tmp_path / "jobs.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("resumed from step") == len(KILLED), done.stderr
    for name in KILLED:
        assert same_bits(tmp_path / name, together[0] / name) == 11


def test_what_cannot_be_shared_is_said_by_all(together: tuple[Path, Outcome]) -> None:
    folder, outcome = together
    for name, problem in {
        "odd": "train.batch_size=5 is not divisible by the 2 processes: set it to 4 or 6",
        "trials": "trials run one by one, each in one process",
    }.items():
        for each in outcome(name)[0]:
            assert problem in each["error"]
        assert not (folder / name).exists()


def test_a_batch_that_nobody_set_is_one_that_can_be_shared(together: tuple[Path, Outcome]) -> None:
    folder, outcome = together
    for each in outcome("rounded")[0]:
        assert each["status"] == "finished"
    assert "batch_size = 4" in (folder / "rounded" / "run.toml").read_text(encoding="utf-8")
