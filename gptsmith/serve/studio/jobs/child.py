"""The child of a job: `python -m gptsmith.serve.studio.jobs.child FOLDER` runs the command of a job's folder, once.

It holds the job's lock while it does, and hands it on to the command, so that the lock is free only when both are gone.
Whoever finds the lock free and the command begun knows that it will not go on. The child keeps the end of what the
command says, stops it when somebody asks for that, and writes its exit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically, write_json
from gptsmith.base.interrupts import EXIT_CODE, SIGNALS
from gptsmith.base.progress import PROGRESS_FILE
from gptsmith.serve.studio.jobs.folder import MAX_ERR_BYTES, MAX_OUT_BYTES, JobFolder, command_of

TAKEN = 75
"""The exit code of a child that found the job in the hands of another one. It did nothing."""
NOT_STARTED = 127
LOCK_PATIENCE_S = 2.0
"""The studio holds the lock for a moment when it looks how a job stands."""
LOOK_EVERY_S = 0.1
EXIT_TRIES, EXIT_AGAIN_S = 120, 1.0
"""How often, on a full disk, the exit is written again."""
LAST_WORDS_S = 2.0
"""How long what the command left behind may hold its output open."""


def main(path: str) -> int:
    """Runs the command of a job, unless somebody has it already; the exit code of the child."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)  # the command hears them too, and ends as it likes
    folder = JobFolder(Path(path))
    lock = folder.locked(LOCK_PATIENCE_S)
    if lock is None or folder.begun.exists():
        return TAKEN
    try:
        write_atomically(folder.begun, "")
    except UserError as error:
        print(f"gptsmith: {error}", file=sys.stderr)
        return NOT_STARTED
    code = EXIT_CODE + signal.SIGINT if folder.cancel.exists() else _run(folder, lock)
    _write_exit(folder, code)
    return 0


def _run(folder: JobFolder, lock: int) -> int:
    """Runs the command to its end; its exit code, negative if a signal ended it."""
    try:
        command, where = command_of(folder)
        process = subprocess.Popen(
            command,
            cwd=where,
            env={**os.environ, PROGRESS_FILE: str(folder.progress)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            pass_fds=(lock,),
        )
    except (OSError, UserError) as error:
        folder.err.write_text(f"{error}\n", encoding="utf-8")
        return NOT_STARTED
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [
        threading.Thread(target=_keep_end, args=said, daemon=True)
        for said in ((process.stdout, folder.out, MAX_OUT_BYTES), (process.stderr, folder.err, MAX_ERR_BYTES))
    ]
    for reader in readers:
        reader.start()
    code = _wait(process, folder)
    for reader in readers:
        reader.join(LAST_WORDS_S)
    return code


def _wait(process: subprocess.Popen[bytes], folder: JobFolder) -> int:
    """Waits for the command, and passes on who wants it to stop; its exit code."""
    was_asked = False
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(LOOK_EVERY_S)
        with suppress(ProcessLookupError):
            if folder.kill.exists():
                os.killpg(process.pid, signal.SIGKILL)
            elif not was_asked and folder.cancel.exists():
                was_asked = True
                os.killpg(process.pid, signal.SIGINT)


def _keep_end(said: IO[bytes], path: Path, most: int) -> None:
    """Writes what is said to a file, which keeps its end; a full disk loses words, and holds nobody up."""
    size = 0
    while part := os.read(said.fileno(), 1 << 16):
        with suppress(OSError):
            if size > 2 * most:
                end = path.read_bytes()[-most:]
                path.write_bytes(end)
                size = len(end)
            with path.open("ab") as file:
                file.write(part)
            size += len(part)


def _write_exit(folder: JobFolder, code: int) -> None:
    for _ in range(EXIT_TRIES):
        with suppress(UserError):
            write_json(folder.exit, {"code": code, "ended": time.time()})
            return
        time.sleep(EXIT_AGAIN_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
