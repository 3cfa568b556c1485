"""Text that is prepared once, by workers in processes of their own, and trained on from there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.cache_folder import default_cache
from gptsmith.base.files import read_json
from gptsmith.data.prepared_files import PREPARED
from gptsmith.run.folder import Run
from gptsmith.store.objects import Store
from tests.workflows.conftest import FLOAT32, SMALL

VOCABULARY = "tokenizer.vocab_size=300"
TRAINED = [setting for setting in SMALL if setting != VOCABULARY] + ["train.num_steps=6", FLOAT32]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def losses(run: str) -> list[tuple[int, float]]:
    return [(row["step"], row["train_loss"]) for row in Run.open(run).log.events("step")]


@pytest.fixture(scope="module")
def prepared(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text of the shared run, prepared by two workers."""
    place = tmp_path_factory.mktemp("prepared") / "smiths"
    gptsmith.prepare([text], out=place, workers=2, settings=[VOCABULARY])
    assert [path.name for path in place.parent.iterdir()] == ["smiths"], "nothing is left beside it"
    return place


def test_a_prepared_text_is_trained_on_as_the_text_itself(
    prepared: Path, trained: dict[str, Any], tmp_path: Path, text: Path, call: Callable
) -> None:
    own = gptsmith.pretrain([text], out=tmp_path / "own", settings=[*TRAINED, VOCABULARY])
    place = shutil.copytree(prepared, tmp_path / "moved")
    done = call("pretrain", place, "--out", tmp_path / "run", "--json", *_sets(TRAINED)).object
    assert losses(done["run"]) == losses(own["run"])
    assert done["validation_loss"] == own["validation_loss"]
    one, other = Run.open(done["run"]), Run.open(own["run"])
    assert one.data() == other.data()
    assert one.settings()["tokenizer"] == other.settings()["tokenizer"]
    resumed = call("pretrain", "--resume", done["run"], "--tokens", 2_560, "--json").object
    assert resumed["step"] == 10
    assert call("evaluate", done["run"], "--json").object["num_tokens"] > 0
    planned = call("plan", place, "--minutes", 1, "--json").object
    assert planned["vocab_size"] == 300
    assert contents(place) == contents(prepared), "nothing is written into it"


def _sets(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def test_any_number_of_workers_writes_the_same_bytes(
    prepared: Path, text: Path, tmp_path: Path, call: Callable
) -> None:
    told = call("prepare", text, "--out", tmp_path / "one", "--workers", 1, "--set", VOCABULARY, "--json").object
    assert told["num_files"] == 3
    assert told["num_tokens"] + told["num_validation_tokens"] > 1_000
    one, two = contents(tmp_path / "one"), contents(prepared)
    manifests = [json.loads(files.pop(PREPARED)) for files in (one, two)]
    assert one == two
    assert manifests[0] == manifests[1]
    assert not [name for name in one if name.endswith((".pik", ".pkl", ".pickle"))]
    again = call("prepare", text, "--out", tmp_path / "one", "--workers", 3, "--set", VOCABULARY, "--json").object
    assert again["fingerprint"] == told["fingerprint"], "what is there is not prepared anew"


REFUSED = {
    ("--set", "tokenizer.vocab_size=400"): "tokenizer.vocab_size=400 contradicts {place}, which was prepared with 300",
    ("--set", "data.validation_fraction=0.2"): "data.validation_fraction=0.2 contradicts {place}",
    ("--tokenizer", "characters"): "tokenizer.kind='characters' contradicts {place}, which was prepared with 'bpe'",
    ("--redact",): "data.redact=",
    ("--canaries", "8"): "data.num_canaries=8 contradicts",
    ("--validation", "{text}"): "is prepared, and {text} would change its text",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_contradicts_a_prepared_text_is_one_line(
    words: tuple[str, ...], prepared: Path, text: Path, tmp_path: Path, call: Callable
) -> None:
    given = [word.format(text=text) for word in words]
    refused = call("pretrain", prepared, "--out", tmp_path / "run", *given, "--max-steps", 1)
    assert refused.code == 2
    assert REFUSED[words].format(place=prepared, text=text) in refused.err.replace("\n", "")
    assert not (tmp_path / "run").exists()


def test_bad_input_is_one_line_and_leaves_nothing(
    prepared: Path, text: Path, tmp_path: Path, call: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    taken, empty, bad = tmp_path / "taken", tmp_path / "empty", tmp_path / "bad.txt"
    for folder in (taken, empty):
        folder.mkdir()
    (taken / "mine.txt").write_text("mine")
    bad.write_bytes(b"caf\xe9 " * 500)
    out = tmp_path / "out"
    for words, expected in [
        ([text], "say where to write"),
        ([text, "--out", taken], "a folder that holds something else"),
        ([text, "--out", bad], "is a file"),
        ([empty, "--out", out], "nothing to read"),
        ([bad, "--out", out], str(bad)),
        ([text, "--out", out, "--workers", 0], "--workers 0 prepares nothing"),
        ([text, "--out", out, "--executor", "slurm"], "Slurm's program sbatch, which is not found"),
        ([text, "--out", out, "--executor", "cloud"], "cloud"),
        ([text, "--out", out, "--set", "model.num_layers=2"], "model.num_layers is no setting of a text"),
        ([text, "--out", prepared], "was prepared from another text, or with other settings"),
        ([prepared, "--out", out], "is prepared already"),
        ([tmp_path / "gone", "--out", out], "no such file"),
    ]:
        refused = call("prepare", *words)
        assert refused.code == 2, words
        assert expected in refused.err.replace("\n", " "), refused.err
        assert "Traceback" not in refused.err
    assert (taken / "mine.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "empty", "bad.txt"}


def test_texts_are_not_taken_for_prepared_ones(prepared: Path, text: Path, tmp_path: Path, call: Callable) -> None:
    both = call("pretrain", prepared, text, "--out", tmp_path / "run", "--max-steps", 1)
    assert (both.code, "trained on alone" in both.err.replace("\n", " ")) == (2, True)
    audit = call("audit", prepared)
    assert (audit.code, "is a prepared text" in audit.err.replace("\n", " ")) == (2, True)
    newer = shutil.copytree(prepared, tmp_path / "newer")
    manifest = read_json(newer / PREPARED)
    (newer / PREPARED).write_text(json.dumps({**manifest, "format_version": 99}))
    refused = call("pretrain", newer, "--out", tmp_path / "run", "--max-steps", 1)
    assert (refused.code, "a newer gptsmith (format 99" in refused.err.replace("\n", " ")) == (2, True)
    (newer / PREPARED).write_text("{}")
    refused = call("pretrain", newer, "--out", tmp_path / "run", "--max-steps", 1)
    assert (refused.code, PREPARED in refused.err) == (2, True)


def test_an_upload_that_was_interrupted_goes_on_and_other_objects_stay(
    text: Path, tmp_path: Path, call: Callable
) -> None:
    store = Store(f"memory://{tmp_path.name}/uploaded")
    words = ("prepare", text, "--out", store.url, "--workers", 1, "--set", VOCABULARY)
    store.write("runs/mine/run.toml", b"")
    refused = call(*words)
    assert (refused.code, "holds something else" in refused.err.replace("\n", " ")) == (2, True)
    store.delete("runs/mine/run.toml")
    store.write("summary.json", b"{")
    store.write("text/documents-00000.bin", b"")
    assert call(*words).code == 0
    assert PREPARED in store.names()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda files: {**files, "tokenizer/../../../outside": files["summary.json"]}, "which is no file in it"),
        (
            lambda files: {name: file for name, file in files.items() if name != "summary.json"},
            "summary.json is not as",
        ),
        (lambda files: {**files, "summary.json": {"num_bytes": 1}}, "sha256"),
    ],
)
def test_a_manifest_of_somebody_else_writes_nowhere_but_in_its_folder(
    prepared: Path, tmp_path: Path, call: Callable, monkeypatch: pytest.MonkeyPatch, change: Callable, expected: str
) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    store = Store(f"memory://{tmp_path.name}/place")
    for name, content in contents(prepared).items():
        store.write(name, content)
    store.write("tokenizer/../../../outside", store.read("summary.json"))
    manifest = json.loads(store.read(PREPARED))
    store.write(PREPARED, json.dumps({**manifest, "files": change(manifest["files"])}).encode())
    refused = call("pretrain", store.url, "--out", tmp_path / "run", "--max-steps", 1)
    assert (refused.code, expected in refused.err.replace("\n", " ")) == (2, True), refused.err
    assert not [*tmp_path.rglob("outside")]


@pytest.mark.story
def test_a_store_gives_each_host_only_what_it_reads(
    text: Path, prepared: Path, tmp_path: Path, call: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "memory://bucket/smiths"
    told = call("prepare", text, "--out", place, "--workers", 1, "--set", VOCABULARY, "--json").object
    assert told["prepared"] == place
    store = Store(place)
    names = store.names()
    assert {name: store.read(name) for name in names if name != PREPARED} == {
        name: content for name, content in contents(prepared).items() if name != PREPARED
    }
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "host"))
    fetched: list[str] = []
    whole = Store.download

    def download(self: Store, name: str, path: Path) -> None:
        fetched.append(name)
        whole(self, name, path)

    monkeypatch.setattr(Store, "download", download)
    from gptsmith.data.prepared_folder import PreparedFolder

    train, _ = PreparedFolder(place).streams()
    assert len(train) == told["num_tokens"]
    assert fetched == ["tokens/manifest.json"]
    train.slice(5, 9)
    assert fetched[1:] == ["tokens/train-00000.tokens"]
    done = call("pretrain", place, "--out", tmp_path / "run", "--json", *_sets(TRAINED)).object
    assert done["step"] == 6
    assert call("plan", place, "--minutes", 1, "--json").object["vocab_size"] == 300
    assert len(fetched) == len(set(fetched)), "nothing is fetched twice"
    (mirror,) = (default_cache() / "prepared").iterdir()
    (mirror / "tokens" / "train-00000.tokens").write_bytes(b"torn")
    call("evaluate", done["run"], "--json")
    store.write("tokens/train-00000.tokens", b"changed")
    refused = call("pretrain", place, "--out", tmp_path / "other", *_sets(TRAINED))
    assert refused.code == 2
    assert "tokens/train-00000.tokens is not as it was prepared" in refused.err.replace("\n", " ")
    missing = call("pretrain", "memory://bucket/other", "--out", tmp_path / "third", "--max-steps", 1)
    assert (missing.code, "holds no prepared text" in missing.err.replace("\n", " ")) == (2, True)


@pytest.mark.story
def test_processes_train_together_on_a_prepared_text(prepared: Path, tmp_path: Path) -> None:
    exact = [*TRAINED, "train.dtype=float64", "model.dropout=0"]
    alone = gptsmith.pretrain([prepared], out=tmp_path / "alone", settings=exact)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "gptsmith", "pretrain"]
    command += [str(prepared), "--out", str(tmp_path / "together"), *_sets(exact)]
    environment = {**os.environ, "PYTHONPATH": str(Path(gptsmith.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours, theirs = losses(str(tmp_path / "together")), losses(alone["run"])
    assert [step for step, _ in ours] == [step for step, _ in theirs]
    assert [loss for _, loss in ours] == pytest.approx([loss for _, loss in theirs], abs=1e-12)


HELD = """
import os, threading
from pathlib import Path
from typing import ClassVar, Literal

from gptsmith.data.readers import Chunk, Reader

class HeldReader(Reader):
    kind: Literal["held"] = "held"
    extensions: ClassVar[tuple[str, ...]] = (".held",)

    def read(self, file, settings):
        while not Path(os.environ["GO"]).exists():
            threading.Event().wait(0.02)
        text = file.path.read_text()
        yield Chunk(text, 0, len(text))
"""
"""A reader that waits until it may read."""


def many_texts(folder: Path) -> Path:
    folder.mkdir()
    for number in range(4):
        words = " ".join(f"word{(number * number + n * 7919) % 997}" for n in range(130_000))
        (folder / f"{number}.held").write_text(f"{number} {words}")
    return folder


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`gptsmith prepare` in a process of its own."""
    started = []

    def start(*words: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "gptsmith", "prepare", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **environment, "PYTHONPATH": str(Path(gptsmith.__file__).parents[1])},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(happens: Callable[[], Any]) -> Any:
    """What comes of a condition once it holds."""
    deadline = time.monotonic() + 120
    while not (found := happens()):
        assert time.monotonic() < deadline
        os.sched_yield()
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.story
def test_killed_workers_and_commands_go_on_where_they_were(
    tmp_path: Path, command: Callable[..., subprocess.Popen[str]]
) -> None:
    text, reader = many_texts(tmp_path / "texts"), tmp_path / "imported" / "held.py"
    reader.parent.mkdir()
    reader.write_text(HELD)
    words = (text, "--workers", 2, "--import", reader)
    free, held = {"GO": str(reader)}, {"GO": str(tmp_path / "never")}
    assert command(*words, "--out", "whole", **free).wait() == 0
    working = tmp_path / ".partial-place"

    def reading() -> list[int]:
        try:
            pids = [int(path.name) for path in (working / "workers" / "read").iterdir()]
        except FileNotFoundError:  # it comes and goes
            return []
        return pids if len(pids) == 2 else []

    first = command(*words, "--out", "place", **held)
    pids = until(reading)
    os.kill(pids[0], signal.SIGKILL)
    _, told = first.communicate()
    assert first.returncode == 2
    assert "a worker was ended from outside" in told.replace("\n", " ")
    assert all(map(is_gone, pids))
    assert working.is_dir()
    second = command(*words, "--out", "place", **held)
    pids = until(lambda: [pid for pid in reading() if pid not in pids])
    second.send_signal(signal.SIGKILL)
    second.wait()
    until(lambda: all(map(is_gone, pids)))
    assert not (tmp_path / "place").exists()
    assert command(*words, "--out", "place", **free).wait() == 0
    assert contents(tmp_path / "place") == contents(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"texts", "imported", "whole", "place"}


SLURM = {
    "sbatch": """#!/usr/bin/env python3
import os, re, subprocess, sys
*options, script = sys.argv[1:]
content = open(script).read()
folder = os.path.dirname(os.path.abspath(__file__))
with open(folder + "/scripts", "a") as file:
    file.write(content + "=== " + " ".join(options) + "\\n")
last = int(re.search(r"--array=0-(\\d+)", content)[1])
for task in range(last + 1):
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "SLURM_NODELIST": "here", "RUN_OFFSET": "0"}
    output = re.search(r"#SBATCH --output=(.*)", content)[1].replace("%A", "7").replace("%a", str(task))
    with open(output, "w") as file:
        subprocess.run(["bash", script], env=environment, stdout=file, stderr=file)
print("Submitted batch job 7")
""",
    "srun": '#!/bin/bash\nwhile [[ "$1" == -* ]]; do [ "$1" = -n ] && shift; shift; done\nexec "$@"\n',
    "squeue": "#!/bin/bash\n",
    "scontrol": "#!/bin/bash\necho here\n",
}


@pytest.mark.story
def test_slurm_runs_the_tasks(
    prepared: Path, text: Path, tmp_path: Path, command: Callable[..., subprocess.Popen[str]]
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in SLURM.items():
        (programs / name).write_text(script)
        (programs / name).chmod(stat.S_IRWXU)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    words = (text, "--set", VOCABULARY, "--executor", "slurm", "--workers", 3, "--out", tmp_path / "place")
    process = command(*words, PATH=path)
    _, told = process.communicate()
    assert process.returncode == 0, told
    one, two = contents(tmp_path / "place"), contents(prepared)
    assert {name: content for name, content in one.items() if name != PREPARED} == {
        name: content for name, content in two.items() if name != PREPARED
    }
    scripts = (programs / "scripts").read_text().split("=== ")[:-1]
    assert len(scripts) == 4
    for script, name in zip(scripts, ("read", "join", "encode", "finish"), strict=True):
        lines = script.splitlines()
        assert f"#SBATCH --job-name=gptsmith-{name}" in lines
        assert "#SBATCH --cpus-per-task=1" in lines
        assert [line for line in lines if line.startswith("srun") and "launch_pickled_pipeline" in line]
        assert "None" not in script, "what Slurm's own variables say is not overruled"


@pytest.mark.story
def test_ray_runs_the_tasks(
    prepared: Path, text: Path, tmp_path: Path, command: Callable[..., subprocess.Popen[str]]
) -> None:
    pytest.importorskip("ray")
    process = command(text, "--set", VOCABULARY, "--executor", "ray", "--workers", 2, "--out", tmp_path / "place")
    _, told = process.communicate()
    assert process.returncode == 0, told
    assert contents(tmp_path / "place")["tokens/train-00000.tokens"] == contents(prepared)["tokens/train-00000.tokens"]
