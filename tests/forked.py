"""Programs in processes of their own which need not import everything anew: each is a fork of a process that has."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Mapping
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any, NoReturn

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "torch._dynamo", "torch.distributed.fsdp", "gptsmith.cli", "gptsmith.workflows.pretrain",
        "gptsmith.workflows.finetune", "gptsmith.train.search.search",
    ]
)  # fmt: skip


class Forked:
    """`python -m gptsmith ARGUMENTS`, or a program of Python's with these arguments, as `subprocess.Popen` has it.
    `environment` is added to that of this process."""

    def __init__(
        self,
        *arguments: object,
        program: str | None = None,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder = tempfile.mkdtemp(prefix="gptsmith-test-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._out, self._err = (Path(folder) / name for name in ("out", "err"))
        self._out.touch()
        self._err.touch()
        work = (
            program,
            list(map(str, arguments)),
            cwd or Path.cwd(),
            {**os.environ, **(environment or {})},
            self._out,
            self._err,
        )
        self._process: Any = PROCESSES.Process(target=_run, args=work, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def poll(self) -> int | None:
        """Its exit code; minus the signal that ended it; None while it runs."""
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float = 120) -> int:
        """Its exit code, once it has ended."""
        self._process.join(timeout)
        if (code := self.poll()) is None:
            self.send_signal(signal.SIGKILL)
            raise TimeoutExpired("gptsmith", timeout)
        return code

    def said(self, pattern: str, timeout: float = 120) -> re.Match[str]:
        """Where it has written a pattern to standard output or to standard error, once it has."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self.poll() is not None
            texts = [path.read_text(encoding="utf-8") for path in (self._out, self._err)]
            if found := next(filter(None, (re.search(pattern, text) for text in texts)), None):
                return found
            assert not ended, texts
            assert time.monotonic() < deadline, texts
            self._process.join(0.01)

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it, if it has not ended."""
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """What it wrote to standard output and to standard error, once it has ended."""
        self.wait(timeout)
        out, err = (path.read_text(encoding="utf-8") for path in (self._out, self._err))
        return out, err


def _run(
    program: str | None, arguments: list[str], folder: Path, environment: dict[str, str], out: Path, err: Path
) -> NoReturn:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["gptsmith", *arguments]
    code: object = 0
    try:
        if program is None:
            runpy.run_module("gptsmith", run_name="__main__")
        else:
            exec(program, {"__name__": "__main__"})
    except SystemExit as left:
        code = left.code or 0
    except BaseException:
        code = 1
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)
