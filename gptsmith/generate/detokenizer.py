"""Detokenization of a text as it grows: whole characters, up to the first stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from functools import lru_cache


class Detokenizer:
    """The text of tokens as they are generated.

    Attributes:
        stop_string: the one that was found, or None; the text ends before it.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._matchers = [StopMatcher(text) for text in stop if text]
        self.stop_string: str | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The text that more bytes bring. What may be the beginning of a character or of a stop string is held back
        until it is known, or until the final bytes; there, the beginning of a character is dropped."""
        if self.stop_string is not None:
            return ""
        text, num_held = self._decoder.decode(data), len(self._held)
        self._held += text
        found = [(matcher, end) for matcher in self._matchers if (end := matcher.feed(text)) is not None]
        if found:
            start, self.stop_string = min((num_held + end - len(matcher.stop), matcher.stop) for matcher, end in found)
            ready, self._held = self._held[:start], ""
            return ready
        keep = 0 if final else max((matcher.num_matched for matcher in self._matchers), default=0)
        ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return ready


class StopMatcher:
    """Finds a stop string in a text that comes in pieces, in a time that does not depend on its length (Knuth, Morris
    and Pratt 1977).

    Attributes:
        num_matched: the length of the longest beginning of the stop string that the text so far ends with.
    """

    def __init__(self, stop: str) -> None:
        self.stop, self.num_matched = stop, 0
        self._borders = _borders(stop)

    def feed(self, text: str) -> int | None:
        """Reads more of the text; returns where in it the first stop string ends, or None."""
        stop, borders, matched = self.stop, self._borders, self.num_matched
        for end, character in enumerate(text, 1):
            while matched and stop[matched] != character:
                matched = borders[matched - 1]
            matched += stop[matched] == character
            if matched == len(stop):
                return end
        self.num_matched = matched
        return None


@lru_cache(maxsize=64)
def _borders(stop: str) -> list[int]:
    """For each beginning of a string, the length of the longest shorter beginning that it ends with."""
    borders = [0] * len(stop)
    length = 0
    for number in range(1, len(stop)):
        while length and stop[length] != stop[number]:
            length = borders[length - 1]
        length += stop[length] == stop[number]
        borders[number] = length
    return borders
