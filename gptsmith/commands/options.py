"""The command line of a verb, made from its request class: the fields are its options, their docstrings its help."""

from __future__ import annotations

import inspect
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

import typer
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from gptsmith.base.command_words import option_name
from gptsmith.base.interrupts import EXIT_CODE
from gptsmith.base.settings import Settings

if TYPE_CHECKING:
    from gptsmith.workflows.requests import SamplingOptions

S = TypeVar("S", bound=Settings)

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Write JSON to standard output, everything else to standard error.",
    ),
]
SAMPLING = {"Sampling": ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")}
"""The panel of the verbs that sample tokens."""
IN_PYTHON_ONLY = ("started", "reward", "callbacks", "background")
METAVARS = {
    "out": "FOLDER", "resume": "RUN", "against": "OTHER", "draft": "RUN", "base": "RUN", "config": "FILE",
    "settings": "KEY=VALUE", "lora": "RANK", "trials": "N", "tokens": "COUNT", "params": "COUNT",
    "validation": "PATH", "test": "PATH", "stop": "TEXT", "system": "TEXT", "prompts": "FILE", "task": "KIND",
    "lora_alpha": "NUMBER", "learning_rate": "RATE", "batch_size": "COUNT", "max_steps": "N", "report_to": "TRACKER",
    "context_length": "N", "api_key_file": "FILE", "hosts": "NAME", "cors": "ORIGIN", "to": "KIND", "lm_eval": "TASK",
    "lm_eval_path": "FOLDER", "me": "NAME", "retrain": "DOCUMENT", "seeds": "N",
    "reply": "TEXT", "word": "N", "by": "PARTS", "methods": "NAME", "html": "FILE", "without": "FILE",
    "redact_passages": "FILE", "documents": "FOLDER", "no_recital": "N", "private": "EPSILON",
    "ray": "ADDRESS", "workers": "N",
}  # fmt: skip


def command(
    request: type[S],
    *,
    arguments: Mapping[str, str],
    panels: Mapping[str, Sequence[str]],
    examples: Sequence[str],
    omitted: Sequence[str] = (),
    metavars: Mapping[str, str] = MappingProxyType({}),
    sweeps: bool = True,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function of a request, and of options of its own, a command for Typer.

    Args:
        request: the request class. Every field of it is an argument or stands in a panel.
        arguments: the fields that are given by position, in their order, each with its metavar.
        panels: the groups of options in the help, each with its fields.
        examples: commands to show below the help.
        omitted: the fields that have no option.
        metavars: those of the fields for which the usual one is not true.
        sweeps: whether it first clears away what killed commands left.
    """

    def made(run: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(run, eval_str=True)
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in signature.parameters.items()
            if name != "request"
        ]

        def call(**values: Any) -> None:
            others = {parameter.name: values.pop(parameter.name) for parameter in own}
            given = {name: value for name, value in values.items() if value is not None}
            if "started" in request.model_fields:
                from gptsmith.base.machine import process_seconds

                given["started"] = time.monotonic() - process_seconds()
            origins = {name: option_name(name) for name in given if name not in arguments}
            parsed = request.parse(given, origins=origins)
            if sweeps:
                from gptsmith.base.leftovers import sweep_noted

                sweep_noted()
            run(parsed, **others)

        parameters = [*_parameters(request, arguments, panels, omitted, {**METAVARS, **metavars}), *own]
        call.__name__, call.__doc__ = run.__name__, run.__doc__
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        call.epilog = "\n\n".join(["[bold]Examples[/bold]", *(f"  {example}" for example in examples)])  # type: ignore[attr-defined]
        return call

    return made


def _parameters(
    request: type[Settings],
    arguments: Mapping[str, str],
    panels: Mapping[str, Sequence[str]],
    omitted: Sequence[str],
    metavars: Mapping[str, str],
) -> Iterator[inspect.Parameter]:
    """The parameters from which Typer makes arguments and options."""
    fields = request.model_fields
    in_panels = [name for names in panels.values() for name in names]
    hidden = [name for name in IN_PYTHON_ONLY if name in fields]
    assert sorted([*arguments, *in_panels, *hidden, *omitted]) == sorted(fields), request
    for name, metavar in arguments.items():
        info = typer.Argument(metavar=metavar, help=_help(fields[name]))
        yield _parameter(name, fields[name], info)
    for panel, names in panels.items():
        for name in names:
            info = typer.Option(
                option_name(name), metavar=metavars.get(name), help=_help(fields[name]), rich_help_panel=panel
            )
            yield _parameter(name, fields[name], info)


def _parameter(name: str, field: FieldInfo, info: Any) -> inspect.Parameter:
    kind, default = _type(field), field.get_default(call_default_factory=True)
    if field.is_required():
        default = inspect.Parameter.empty
    elif default in (None, "", [], ()):
        kind, default = kind | None, None
    elif kind is str and not isinstance(default, str):
        default = str(default)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _type(field: FieldInfo) -> Any:
    """The type as which Typer reads the option of a field: text where the request class converts it."""
    leaves = set(_leaves(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation))
    if Sequence in leaves:
        return list[str]
    return next((kind for kind in (str, bool, int, float) if kind in leaves), str)


def _leaves(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        is_converted = any(isinstance(each, BeforeValidator) for each in metadata)
        yield from (str,) if is_converted and inner is int else _leaves(inner)
    elif isinstance(origin, type) and issubclass(origin, Sequence):
        yield Sequence
    elif origin is not None:
        for inner in get_args(annotation):
            yield from _leaves(inner)
    else:
        yield str if annotation is Path else annotation


def _help(field: FieldInfo) -> str:
    from gptsmith.base import console

    return console.escaped(" ".join((field.description or "").split()))


def show_drawn_seed(request: SamplingOptions) -> None:
    """Says the seed that was drawn because none was given, so that the same text can be had again."""
    from gptsmith.base import console

    if request.seed is None and request.temperature != 0:
        console.note(f"--seed {request.resolved_seed} gives the same text again", "dim")


def show_next(command: str) -> None:
    """Shows a command that uses what a verb has made."""
    from gptsmith.base import console

    console.note(console.styled("\nnext: [bold]{}[/bold]", command))


def finish(figures: Mapping[str, Any], json: bool) -> None:
    """Shows the figures of a training verb, and leaves with the signal's exit code if one stopped it.

    Raises:
        typer.Exit: training was stopped.
    """
    from gptsmith.base import console

    if json:
        console.show_json(figures)
    else:
        console.show_figures("", figures)
    if figures["status"] == "stopped":
        raise typer.Exit(EXIT_CODE + signal.Signals[figures["signal"]])
