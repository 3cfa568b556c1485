"""Commands that a message shows to a person, as they work in the shell that it is shown in."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path


def shell_command(*words: object) -> str:
    """A gptsmith command as one line, quoted for the shell.

    Args:
        words: the verb and its arguments. One in capitals (`FILE`) is for the person to replace.
    """
    line = [*_program(), *map(str, words)]
    return subprocess.list2cmdline(line) if sys.platform == "win32" else shlex.join(line)


@functools.cache
def _program() -> list[str]:
    """`gptsmith`, or a longer form of it where the shell would not find this installation's program by that name."""
    folder = Path(sys.executable).parent
    found = shutil.which("gptsmith")
    if found is not None and Path(found).resolve().parent in (folder, folder.resolve()):
        return ["gptsmith"]
    script = folder / ("gptsmith.exe" if sys.platform == "win32" else "gptsmith")
    program = script if script.is_file() else Path(sys.executable)
    here = Path.cwd()
    shown = os.path.relpath(program, here) if program.is_relative_to(here) else str(program)
    return [shown] if program == script else [shown, "-m", "gptsmith"]
