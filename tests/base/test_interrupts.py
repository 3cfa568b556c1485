"""A signal is answered at once, and the second one obeyed at once, whatever the main thread is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from gptsmith.base.interrupts import STOPPING, answered_at_once

BUSY = """
import contextlib, hashlib
from gptsmith.base.interrupts import answered_at_once
with answered_at_once(exits=True):
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # as in a library that loses it
            print("ready", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2_000_000_000)  # many minutes, which no signal interrupts
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C otherwise")
def test_a_library_that_holds_the_main_thread_does_not_delay_the_answer() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    with process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert [process.stderr.readline(), process.stderr.readline()] == ["\n", f"{STOPPING}\n"]
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == ""


def test_the_innermost_words_count_and_none_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    def press() -> None:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with answered_at_once("outer"), answered_at_once(None):
            press()
        with answered_at_once("outer"), answered_at_once("inner"):
            press()
        with answered_at_once("outer"):
            with answered_at_once("inner"):
                pass
            press()
            press()
    finally:
        signal.signal(signal.SIGINT, before)
    assert capfd.readouterr().err.split() == ["inner", "outer"]
    assert signal.set_wakeup_fd(-1) == -1, "nothing is left behind"


def test_a_reader_that_has_left_is_no_problem() -> None:
    code = (
        "import os, signal\nfrom gptsmith.base.interrupts import answered_at_once\nos.close(2)\n"
        "try:\n    with answered_at_once():\n        signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    print('stopped')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout == "stopped\n"
