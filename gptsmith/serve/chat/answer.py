"""The parts of a generated text: thoughts, words and tool calls, as they come. White space and tags around a part are
never in it, wherever the text is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from gptsmith.serve.chat.tools import ToolCall, Toolset
from gptsmith.text.thoughts import THOUGHTS_CLOSE, THOUGHTS_OPEN
from gptsmith.text.tool_calls import OPEN, CallFrame


@dataclass(frozen=True)
class Thoughts:
    """Reasoning before the answer."""

    text: str


@dataclass(frozen=True)
class Words:
    """Text for the reader."""

    text: str


Part = Thoughts | Words | ToolCall


class AnswerParser:
    """Splits a text into its parts while it is generated. The parts do not depend on how the text comes in pieces, but
    that those of thoughts and of words may be shorter; a call is one part, once it is complete.

    A call in tags may be anywhere in the text, one without and thoughts only at its beginning. What may be a tag, and
    white space that may stand before one, is held back until it is known.
    """

    def __init__(self, toolset: Toolset | None, *, begins_in_thoughts: bool = False) -> None:
        """With `begins_in_thoughts`, the prompt has opened them."""
        form = None if toolset is None else toolset.form
        self._frames = () if toolset is None or form is not None else toolset.frames
        self._form, self._before_call, self._function = form, "", ""
        self._functions: tuple[str, ...] = ()
        if toolset is not None and form is not None:
            self._functions, self._before_call = tuple(toolset.by_name), form.opening(toolset.special_tokens)
        self._held = ""
        self._read = self._thoughts if begins_in_thoughts else self._opening
        self._has_thoughts = False
        self._drops_space = False
        self._frame: CallFrame | None = None

    def feed(self, text: str, *, is_last: bool = False, is_cut: bool = False) -> list[Part]:
        """The parts that are known now. The last text may be cut off; then the beginning of a tag at its end is one."""
        self._held += text
        parts = list(self._parts())
        if is_last:
            parts += self._rest(is_cut)
        return [part for part in parts if isinstance(part, ToolCall) or part.text]

    def _parts(self) -> Iterator[Part]:
        """Parts as long as one reader hands over to the next."""
        read = None
        while read != self._read:
            read = self._read
            yield from read()

    def _opening(self) -> Iterator[Part]:
        begun = self._held.lstrip()
        if begun.startswith(THOUGHTS_OPEN):
            self._read = self._thoughts
        elif not THOUGHTS_OPEN.startswith(begun):
            self._read = self._words
        yield from ()

    def _thoughts(self) -> Iterator[Part]:
        if not self._has_thoughts:
            begun = self._held.lstrip()
            if begun.startswith(THOUGHTS_OPEN):
                begun = begun.removeprefix(THOUGHTS_OPEN).lstrip()
            elif THOUGHTS_OPEN.startswith(begun):
                return
            self._held, self._has_thoughts = begun, bool(begun)
        thoughts, is_closed, rest = self._held.partition(THOUGHTS_CLOSE)
        if is_closed:
            yield Thoughts(thoughts.rstrip())
            self._held, self._drops_space, self._read = rest, True, self._words
        else:
            yield Thoughts(self._release(len(_without_beginning(self._held, THOUGHTS_CLOSE).rstrip())))

    def _words(self) -> Iterator[Part]:
        if self._drops_space:
            self._held = self._held.lstrip()
            self._drops_space = not self._held
        if self._functions and not self._begins_untagged_call():
            return
        if not self._frames:
            yield Words(self._release(len(self._held)))
            return
        start = self._held.find(OPEN)
        while start >= 0:
            begun = self._held[start:]
            self._frame = next((frame for frame in self._frames if begun.startswith(frame.before)), None)
            if self._frame is not None:
                yield Words(self._release(start).rstrip())
                self._held, self._read = self._held.removeprefix(self._frame.before), self._call
                return
            if any(frame.before.startswith(begun) for frame in self._frames):
                break
            start = self._held.find(OPEN, start + 1)
        words = self._held[:start] if start >= 0 else _without_beginning(self._held, OPEN)
        yield Words(self._release(len(words.rstrip())))

    def _call(self) -> Iterator[Part]:
        assert self._frame is not None
        given, is_closed, rest = self._held.partition(self._frame.after)
        if is_closed:
            yield ToolCall(self._frame.name, given, self._frame.is_custom)
            self._held, self._read, self._drops_space = rest, self._after_call, False

    def _begins_untagged_call(self) -> bool:
        """Reads the beginning of a call, if there is one; returns whether the text is words."""
        assert self._form is not None
        begun = self._held.lstrip()
        openings = {self._before_call + self._form.before(name): name for name in self._functions}
        for opening, name in openings.items():
            if begun.startswith(opening):
                self._function, self._held, self._read = name, begun.removeprefix(opening), self._untagged_call
                return False
        if any(opening.startswith(begun) for opening in openings):
            return False
        self._functions = ()  # calls are at the beginning alone
        return True

    def _untagged_call(self) -> Iterator[Part]:
        assert self._form is not None
        end = _end_of_value(self._held)
        if self._held[end:].startswith(self._form.after) and end:
            yield ToolCall(self._function, self._held[:end], is_custom=False)
            self._held = self._held[end:].removeprefix(self._form.after)
            self._before_call, self._read = self._form.separator or "", self._next_untagged_call

    def _next_untagged_call(self) -> Iterator[Part]:
        """Another call, or the end of all, which is no text."""
        self._begins_untagged_call()
        yield from ()

    def _after_call(self) -> Iterator[Part]:
        """White space here is a part of words only if words follow."""
        if self._held.strip():
            self._read = self._words
        yield from ()

    def _rest(self, is_cut: bool) -> Iterator[Part]:
        """The parts at the end of the text."""
        held, self._held = self._held, ""
        if self._read == self._call:
            assert self._frame is not None
            yield ToolCall(self._frame.name, self._frame.cut_input(held), self._frame.is_custom)
        elif self._read == self._untagged_call:
            yield ToolCall(self._function, held[: _end_of_value(held) or None], is_custom=False)
        elif self._read == self._thoughts:
            yield Thoughts("" if is_cut else held.rstrip())
        elif self._read == self._opening:
            yield Words(held if not (is_cut and held.strip()) else "")
        elif self._read == self._words:
            # Held is white space, and behind it perhaps the beginning of a tag.
            yield Words(held if not (is_cut and held.strip()) else "")

    def _release(self, count: int) -> str:
        ready, self._held = self._held[:count], self._held[count:]
        return ready


def whole_answer(parser: AnswerParser, text: str, *, is_cut: bool) -> list[Part]:
    """The parts of a whole text; neighbours of one kind are one."""
    parts: list[Part] = []
    for part in parser.feed(text, is_last=True, is_cut=is_cut):
        last = parts[-1] if parts else None
        if isinstance(part, Words) and isinstance(last, Words):
            parts[-1] = Words(last.text + part.text)
        elif isinstance(part, Thoughts) and isinstance(last, Thoughts):
            parts[-1] = Thoughts(last.text + part.text)
        else:
            parts.append(part)
    return parts


def _without_beginning(text: str, tag: str) -> str:
    """A text without the beginning of a tag at its end."""
    return next((text[:-count] for count in range(len(tag) - 1, 0, -1) if text.endswith(tag[:count])), text)


def _end_of_value(text: str) -> int:
    """Where the JSON value at the beginning of a text ends; 0 if it is not whole."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return 0
    return end
