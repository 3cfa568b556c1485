"""A preparation, from the command that asks for it to the folder or the objects that it makes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.console import Meter, meter
from gptsmith.base.errors import MissingExtraError, UserError, one_line, shown
from gptsmith.base.files import read_table, sync_file, sync_folder, writing
from gptsmith.data.cache import PARTIAL, key_of, only_builder
from gptsmith.data.cache_contents import FOLDERS
from gptsmith.data.preparation.job import JOB, Job
from gptsmith.data.preparation.steps import ERRORS, PLACE, TEXT, WORKERS
from gptsmith.data.prepared_files import PREPARED, PreparedFiles, holds_prepared, is_prepared
from gptsmith.data.prepared_folder import CORPORA, SUMMARY, TOKENIZER, TOKENS
from gptsmith.store.objects import Store, is_remote

if TYPE_CHECKING:
    from gptsmith.data.preparation.executors import ExecutorName

WATCHED_EVERY_S = 0.1
ENDING_S = 10
FRACTIONS = {"read": 0.4, "join": 0.2, "encode": 0.35, "finish": 0.05}
"""Of the time, about, that each step takes."""
WORDS = {"read": "reading files", "join": "joining texts", "encode": "encoding", "finish": "writing shards"}
PARTS = frozenset({*CORPORA.values(), TOKENS, TOKENIZER, SUMMARY})
"""What a prepared text is made of, beside its manifest."""
LOG = "driver.log"
SLURM_PROGRAMS = ("sbatch", "srun", "squeue", "scontrol")


class WorkerEndedError(UserError):
    """A worker was ended from outside: what is done is kept."""


def require_executor(executor: ExecutorName) -> None:
    """Checks that what runs the tasks is there.

    Raises:
        UserError: it is not.
    """
    if find_spec("datatrove") is None:
        raise MissingExtraError("prepare", "gptsmith[prepare]")
    if executor == "ray" and find_spec("ray") is None:
        raise MissingExtraError("--executor ray", "gptsmith[ray]")
    if executor == "slurm" and (missing := [name for name in SLURM_PROGRAMS if shutil.which(name) is None]):
        raise UserError(
            f"--executor slurm needs Slurm's program {missing[0]}, which is not found: call prepare on a machine that "
            "submits jobs, or leave --executor out"
        )


def require_free_place(place: str) -> None:
    """Checks that nothing lies where a prepared text is to be written, but for a prepared text, or in a store a part of
    one, whose upload was interrupted.

    Raises:
        UserError: something does.
    """
    if is_remote(place):
        names = Store(place).names()
        others = [name for name in names if name.partition("/")[0] not in PARTS]
        if others and PREPARED not in names:
            raise UserError(f"{place} holds something else ({shown(others[0])}): choose another --out")
        return
    path = Path(place).expanduser()
    if not (path.exists() or path.is_symlink()) or is_prepared(path):
        return
    if not path.is_dir() or any(path.iterdir()):
        what = "a file" if not path.is_dir() else "a folder that holds something else"
        raise UserError(f"{place} is {what}: choose another --out")


def run_preparation(place: str, job: Job, executor: ExecutorName, num_workers: int) -> PreparedFiles:
    """Prepare a text at a place, unless it is there.

    Raises:
        UserError: the place holds another text, a file cannot be read, or a worker was ended.
    """
    if (found := _found(place, job)) is not None:
        return found
    target = _target(place, job)
    with _only_one(target):
        if (found := _found(place, job)) is not None:
            return found
        working = _working_folder(target)
        _begin(working, job)
        try:
            with writing(working), meter("preparing", 1, count=False) as bar:
                _run_steps(working, job, executor, num_workers, bar)
                _publish(working / PLACE, place)
        except WorkerEndedError:
            raise
        except UserError:
            shutil.rmtree(working, ignore_errors=True)
            raise
        shutil.rmtree(working, ignore_errors=True)
    return PreparedFiles(place)


def _found(place: str, job: Job) -> PreparedFiles | None:
    """The text that the place holds already, if it is this one."""
    if not holds_prepared(place):
        return None
    files = PreparedFiles(place)
    if files.manifest["made_from"] != job.key():
        raise UserError(
            f"{place} was prepared from another text, or with other settings: choose another --out, or delete it"
        )
    return files


def _target(place: str, job: Job) -> Path:
    """The folder beside which work goes on: on a disk that all workers see."""
    if is_remote(place):
        return private_folder(default_cache() / FOLDERS["prepared"]) / key_of(place, job.key())
    return Path(place).expanduser().absolute()


def _working_folder(target: Path) -> Path:
    """The folder in which steps meet, for this user alone: tasks run what lies in it.

    Raises:
        UserError: it cannot be made, or is somebody else's.
    """
    working = target.parent / f"{PARTIAL}{target.name}"
    with writing(working):
        try:
            working.mkdir(mode=0o700)
        except FileExistsError:
            if hasattr(os, "getuid") and working.lstat().st_uid != os.getuid():
                raise UserError(
                    f"{working} is another user's, whose code the workers could run: choose another --out"
                ) from None
    return working


@contextmanager
def _only_one(target: Path) -> Iterator[None]:
    """The lock of a preparation: a second command of the same place waits."""
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with only_builder(target):
            try:
                yield
            finally:
                (target.parent / f".{target.name}.lock").unlink(missing_ok=True)


def _begin(working: Path, job: Job) -> None:
    """Makes the working folder ready; what an earlier command of the same job has done stays."""
    try:
        is_same = not (working / JOB).exists() or Job.read(working) == job
    except (UserError, TypeError):
        is_same = False
    if not is_same:
        shutil.rmtree(working)
        private_folder(working)
    for name in (ERRORS, WORKERS):
        shutil.rmtree(working / name, ignore_errors=True)
    if not (working / JOB).exists():
        job.write(working)


def _run_steps(working: Path, job: Job, executor: ExecutorName, num_workers: int, bar: Meter) -> None:
    package = str(Path(__file__).resolve().parents[3])
    packages = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "gptsmith.data.preparation.driver", str(working), executor, str(num_workers)]
    with (working / LOG).open("wb") as log:
        driver = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": packages},
        )
    try:
        num_shares = len(job.shares())
        while driver.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                driver.wait(WATCHED_EVERY_S)
            bar.update(*_progress(working, num_shares))
            if executor == "local" and _is_worker_gone(working, num_shares):
                raise WorkerEndedError(
                    "a worker was ended from outside, perhaps for want of memory: the same command goes on from here, "
                    "and fewer --workers need less"
                )
    finally:
        _end(driver)
    _require_success(working, driver.returncode)


def _progress(working: Path, num_shares: int) -> tuple[float, str]:
    """How much is done, of 1, and which step runs."""
    done = 0.0
    for name in FRACTIONS:
        count, total = _tasks(working, name, num_shares)
        done += FRACTIONS[name] * count / max(total, 1)
        if count < total:
            return done, WORDS[name]
    return done, ""


def _tasks(working: Path, step: str, num_shares: int) -> tuple[int, int]:
    """How many tasks of a step are done, and how many it has."""
    total = {"read": num_shares}.get(step, 1)
    if step == "encode" and (working / TEXT).exists():
        total = len(read_table(working / TEXT, with_names=True)["shares"])
    return len(_names(working / "tasks" / step / "completions")), total


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _is_worker_gone(working: Path, num_shares: int) -> bool:
    """Whether a process is there no more that worked on a step which is not done."""
    for step in FRACTIONS:
        gone = [pid for pid in _names(working / WORKERS / step) if not _is_there(int(pid))]
        count, total = _tasks(working, step, num_shares)
        if gone and count < total:
            return not _names(working / ERRORS)  # where a task failed, its workers have ended by themselves
    return False


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end(driver: subprocess.Popen) -> None:
    """Ends the driver with all of its workers."""
    if driver.stdin is not None:
        driver.stdin.close()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(driver.pid, signal.SIGKILL)
    driver.wait(ENDING_S)


def _require_success(working: Path, returncode: int) -> None:
    for path in sorted((working / ERRORS).glob("*.json")):
        told = read_table(path, with_names=True)
        if told["trace"]:
            raise RuntimeError(told["trace"])
        raise UserError(told["error"])
    if returncode:
        lines = (working / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no word was left")
        raise WorkerEndedError(
            f"the preparation ended before its time ({one_line(last)}); what is done is in {working}: the same command "
            "goes on from there"
        )


def _publish(folder: Path, place: str) -> None:
    """Puts a finished folder where it was asked for: there it is whole, or not at all."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if is_remote(place):
        store = Store(place)
        for name in sorted(names, key=lambda name: name == PREPARED):
            store.upload(folder / name, name)
        return
    for name in names:
        sync_file(folder / name)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(0o777 & ~_umask())
        sync_folder(path)
    target = Path(place).expanduser().absolute()
    if target.is_dir():
        target.rmdir()
    folder.replace(target)
    sync_folder(target.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
