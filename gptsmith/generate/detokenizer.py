"""Detokenization of a text as it grows: whole characters, up to the first stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Detokenizer:
    """The text of tokens as they are generated.

    Attributes:
        has_stopped: whether a stop string was found; the text ends before it.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self.stop = [text for text in stop if text]
        self.has_stopped = False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The text that more bytes bring. What may be the beginning of a character or of a stop string is held back
        until it is known, or until the final bytes; there, the beginning of a character is dropped."""
        if self.has_stopped:
            return ""
        self._held += self._decoder.decode(data)
        found = [at for at in (self._held.find(stop) for stop in self.stop) if at >= 0]
        if found:
            self.has_stopped = True
            ready, self._held = self._held[: min(found)], ""
            return ready
        keep = 0 if final else max(map(self._overlap, self.stop), default=0)
        ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return ready

    def _overlap(self, stop: str) -> int:
        """How many characters at the end of the held text may be the beginning of a stop string."""
        return next((n for n in range(len(stop) - 1, 0, -1) if self._held.endswith(stop[:n])), 0)
