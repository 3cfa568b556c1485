"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, all else on standard error.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, such as model.num_layers=6. May be given again."),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or mps; auto takes a GPU where there is one.")]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="Below 1 surer, above 1 wilder, 0 always the likeliest; 0.8, or the model's own, if not given.",
        show_default=False,
    ),
]
TopK = Annotated[int | None, typer.Option(help="Draw from this many of the likeliest tokens only.")]
TopP = Annotated[float | None, typer.Option(help="Draw from the likeliest tokens that together have this probability.")]
MinP = Annotated[
    float | None, typer.Option(help="Draw from tokens only that are at least this share as probable as the likeliest.")
]
RepetitionPenalty = Annotated[
    float | None, typer.Option(help="Above 1, tokens that were read or written become less probable.")
]
Seed = Annotated[int, typer.Option(help="The same seed and prompt give the same text.")]
Slide = Annotated[bool, typer.Option("--slide", help="Forget the oldest half when the context is full, and go on.")]

STOPPED = 128
"""With the signal's number, the exit code after one: what was trained is saved, but not all that was asked for is done.
130 after Ctrl-C, 143 after SIGTERM."""


def count(text: str) -> int:
    """A count as people write it: 5000000, 5_000_000, 5M, 1.5B or 300k.

    Raises:
        UserError: it is none of these.
    """
    from gptsmith.base.errors import UserError

    units = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}
    number = text.strip().lower().replace(",", "").replace("_", "")
    unit = units.get(number[-1:], 1)
    try:
        value = float(number.rstrip("kmbg")) * unit
    except ValueError:
        value = 0
    if not 1 <= value < float("inf"):
        raise UserError(f"{text!r} is not a count: write 5000000, 5M, 1.5B or 300k")
    return int(value)


def minutes_of(minutes: float | None, hours: float | None) -> float | None:
    """The time that was asked for, in minutes; nothing where none was.

    Raises:
        UserError: both were given, or it is not more than zero.
    """
    from gptsmith.base.errors import UserError

    if minutes is not None and hours is not None:
        raise UserError(f"--minutes {minutes:g} and --hours {hours:g} were both given: give one of them")
    total = hours * 60 if hours is not None else minutes
    if total is not None and not 0 < total < float("inf"):
        raise UserError(f"a time of {total:g} minutes trains nothing: write --minutes 10 or --hours 2")
    return total
