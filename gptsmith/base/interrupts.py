"""Ctrl-C is answered with a line at once, also while a library's call holds the main thread."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a program to stop: Ctrl-C, a supervisor, a terminal that is closed. Windows has no SIGHUP."""
EXIT_CODE = 128
"""Added to a signal's number: the exit code after it. 129 after SIGHUP, 130 after Ctrl-C, 143 after SIGTERM."""
AGAIN = "; press again to stop at once"
STOPPING = f"stopping{AGAIN}"
SHOW_CURSOR = "\x1b[?25h"

NEW_WORDS = b"\0"
"""Sent between the numbers of signals, none of which is 0: the order says which words a signal is answered with."""


@contextmanager
def answered_at_once(words: str | None = STOPPING, *, exits: bool = False) -> Iterator[None]:
    """While the block runs, in the main thread, the first signal that stops the program gets a line on standard error
    at once, before its handler in Python can run. An inner block replaces the words of an outer one.

    Args:
        words: the line, which says what a signal leads to; None where it does not stop the program, as in a
            conversation.
        exits: whether a second signal ends the process at once. What was being written then is a temporary file or
            folder, and the next command that writes there removes it.
    """
    global _answers
    if threading.current_thread() is not threading.main_thread():
        yield
    elif _answers is None:
        _answers = _Answers(words, exits)
        try:
            yield
        finally:
            _answers.close()
            _answers = None
    else:
        before = _answers.words
        _answers.say(words)
        try:
            yield
        finally:
            _answers.say(before)


class _Answers:
    """A thread that hears of each signal for which Python has a handler, whatever the main thread is doing."""

    def __init__(self, words: str | None, exits: bool) -> None:
        self.words, self._exits = words, exits
        self._next: deque[str | None] = deque()
        self._heard, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._before = signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._answer, args=(words,), name="signals", daemon=True)
        self._thread.start()

    def say(self, words: str | None) -> None:
        """Answers the signals that come from now on with other words."""
        self.words = words
        self._next.append(words)
        self._woken.send(NEW_WORDS)

    def close(self) -> None:
        """Ends, when all signals that came are answered."""
        signal.set_wakeup_fd(self._before)
        self._woken.close()
        self._thread.join()
        self._heard.close()

    def _answer(self, words: str | None) -> None:
        has_answered = False
        while heard := self._heard.recv(1):
            if heard == NEW_WORDS:
                words = self._next.popleft()
            elif heard[0] in SIGNALS and words is not None:
                if has_answered and self._exits:
                    _write(SHOW_CURSOR if sys.stderr.isatty() else "")  # a progress bar hides it
                    os._exit(EXIT_CODE + heard[0])
                if not has_answered:
                    _write(f"\n{words}\n")
                has_answered = True


_answers: _Answers | None = None


def _write(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody needs to read it
        os.write(sys.stderr.fileno(), text.encode())
