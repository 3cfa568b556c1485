"""What a person sees: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gptsmith.base.files import readable_bytes, readable_seconds
from gptsmith.base.json_text import json_text
from gptsmith.base.progress import ProgressFile, progress_file

# What is shown is mostly names and words of people: brackets and colons in them are no markup.
results = Console(highlight=False, markup=False, emoji=False)
notes = Console(stderr=True, highlight=False, markup=False, emoji=False)

PLAIN_LINE_EVERY_S = 10.0
_IS_HUSHED = ContextVar("is_hushed", default=False)
_IS_METERED = ContextVar("is_metered", default=False)


class OutlivingStream:
    """Standard error that nobody needs to read: where its reader has left, its terminal is closed or its disk is full,
    it goes to nowhere, because no work may end for want of somebody who watches it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._go_nowhere()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._go_nowhere()

    def _go_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def outlive_readers() -> None:
    """Continues from now on where nobody reads standard error any more."""
    if sys.stderr is None:  # closed before this process began: what is opened next must not take its place
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if not isinstance(sys.stderr, OutlivingStream):
        sys.stderr = cast(TextIO, OutlivingStream(sys.stderr))


def be_silent() -> None:
    """Shows nothing from now on, because another process speaks for this one. Errors are not silenced."""
    results.quiet = notes.quiet = True


def speak_through(stream: TextIO, width: int | None) -> None:
    """Writes notes to a stream from now on.

    Args:
        width: that of the terminal at its other end; None if there is none.
    """
    global notes
    notes = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


@contextmanager
def hushed() -> Iterator[None]:
    """While the block runs, notes and new bars are not shown; a bar that is there already continues."""
    token = _IS_HUSHED.set(True)
    try:
        yield
    finally:
        _IS_HUSHED.reset(token)


def note(message: str | Text, style: str = "") -> None:
    """Says something on standard error. A string is shown as it stands; `styled` makes text with several styles."""
    if not _IS_HUSHED.get():
        notes.print(Text(harmless(message), style) if isinstance(message, str) else message, soft_wrap=True)


@cache
def note_once(message: str, style: str = "") -> None:
    """The same, unless this program has said it already."""
    note(message, style)


def escaped(text: str) -> str:
    """A text that is shown as it is where markup is read, as in helps."""
    return escape(text)


def styled(template: str, *values: object) -> Text:
    """Text from a template with markup such as [bold], with each value as it stands in the place of a {}."""
    return Text.from_markup(template.format(*(escape(harmless(str(value))) for value in values)), emoji=False)


def show_json(figures: Mapping[str, Any]) -> None:
    """Writes one JSON object to standard output: what `--json` promises."""
    if not results.quiet:
        sys.stdout.write(json_text(figures, ensure_ascii=False) + "\n")
        sys.stdout.flush()  # a program that reads it may wait for it


def show_figures(title: str, figures: Mapping[str, Any]) -> None:
    """Writes a two-column table to standard output, numbers grouped by thousands."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")  # a path is copied from here: it goes on in the next line, and is not cut off
    for name, value in figures.items():
        table.add_row(Text(label_of(name), "dim"), readable(value, name))
    results.print(table)


LABELS = {
    "general_text": "text that the base knew",
    "general_bits_per_byte_before": "that text before (bits per byte)",
    "general_bits_per_byte": "that text now (bits per byte)",
    "general_prompts": "the base's answers to",
    "num_general_answers": "answers compared",
    "num_general_answers_kept": "answers kept",
    "general_answer_agreement": "tokens that stay the first choice",
    "num_truncated": "prompts cut at their beginning",
    "num_kv_heads": "KV heads",
    "cache_bytes_per_token": "KV cache per token",
    "vocab_size": "vocabulary size",
    "embed_dim": "width",
    "head_dim": "width of a head",
    "weight_bytes": "weights",
    "weight_bytes_before": "weights before",
    "kl_divergence": "KL divergence",
    "top1_agreement": "top-1 agreement",
    "macro_f1": "macro F1",
    "p_value": "p-value",
    "lm_eval": "task of lm-eval",
    "lm_eval_version": "version of lm-eval",
}
"""The labels of figures whose own names do not say it to a person. Every other label is made of its name."""

UNITS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    (r"^num_bytes$", "size", readable_bytes),
    (r"_bytes(?=_per_(?!byte)|_before$|$)", "", readable_bytes),
    (r"^seconds$", "time", readable_seconds),
    (r"_(s|seconds)$", "", readable_seconds),
    (r"_?flops(?=_per_|$)", " computation", lambda value: f"{value / 1e9:.3g} GFLOP"),
    (r"(?<=accuracy)$|(?<=agreement)$", "", lambda value: f"{value:.1%}"),
)
"""The part of a name that is a unit, what a person reads in its place, and the value with its unit."""


def label_of(name: str, *, keep_unit: bool = False) -> str:
    """The name of a figure for a person: without the mark of a count, or a unit that stands beside its value."""
    if name in LABELS:
        return LABELS[name]
    for pattern, word, _ in () if keep_unit else UNITS:
        if re.search(pattern, name) and not name.startswith("bits_per"):
            name = re.sub(pattern, word, name, count=1)
            break
    return name.removeprefix("num_").replace("_num_", "_").replace("_", " ").strip()


def readable(value: Any, name: str = "") -> str:
    """A value for a person: 124,439,808 or 1.47 or the text itself; `4.2 GB` or `3 min 20 s` if its name has a unit."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and not name.startswith("bits_per"):
        for pattern, _, form in UNITS:
            if re.search(pattern, name):
                return form(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {readable(item)}" for name, item in value.items())
    return harmless(str(value))


UNSEEN = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    0x7F: 0x2421,
    ord("\r"): None,
}
"""The pictures of control characters."""


def harmless(text: str) -> str:
    """A text whose control characters are shown and not obeyed: some move, recolour or rename what a person sees."""
    return text.translate(UNSEEN)


class Meter:
    """A bar on a terminal, a plain line now and then elsewhere, and a file for other programs. Made by `meter`."""

    def __init__(self, title: str, total: float, progress: Progress | None, told: ProgressFile | None) -> None:
        self.title, self.total, self.progress, self.told = title, total, progress, told
        self.task = progress.add_task(title, total=total, figures="") if progress else None
        self.is_shown = not _IS_HUSHED.get()
        self.said = time.monotonic()

    def update(self, done: float, figures: str = "") -> None:
        """Shows that `done` of the total is done, with a short text of figures beside it."""
        if self.told is not None:
            self.told.write(done, self.total, figures)
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=done, figures=figures)
        elif self.is_shown and time.monotonic() - self.said >= PLAIN_LINE_EVERY_S:
            self.said = time.monotonic()
            notes.print(f"{self.title}: {done / max(self.total, 1):.0%} {figures}".rstrip(), soft_wrap=True)

    def resize(self, total: float) -> None:
        """Shows the work as one of `total` units from now on."""
        self.total = total
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, total=total)


@contextmanager
def meter(title: str, total: float, *, count: bool = True) -> Iterator[Meter]:
    """A `Meter` for work of `total` units; `count` shows how many of them are done. Other programs are told of the
    outermost one."""
    is_shown = not notes.quiet and not _IS_HUSHED.get()
    told = progress_file(title) if is_shown and not _IS_METERED.get() else None
    token = _IS_METERED.set(True)
    try:
        if not notes.is_terminal or not is_shown:
            yield Meter(title, total, None, told)
            return
        counted = [MofNCompleteColumn()] if count else []
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            *counted,
            TextColumn("{task.fields[figures]}", markup=False),
        ]
        with Progress(*columns, TimeRemainingColumn(), console=notes, transient=True) as progress:
            yield Meter(title, total, progress, told)
    finally:
        _IS_METERED.reset(token)
