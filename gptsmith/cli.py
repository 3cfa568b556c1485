"""The command line: a verb is a module of `gptsmith.commands`, imported only when it is called."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

PANELS = {
    "Train": ("prepare", "pretrain", "plan", "finetune", "pairs"),
    "Use": ("studio", "generate", "chat", "serve", "predict"),
    "Explain and protect": ("explain", "trace", "audit", "forget"),
    "Convert": ("compress", "merge", "import", "export"),
    "Evaluate and inspect": ("evaluate", "certify", "info", "runs", "watch", "cache"),
}
"""The groups of verbs in the help."""
VERBS = tuple(verb for verbs in PANELS.values() for verb in verbs)
MODULES = {"import": "import_model"}
"""The modules of verbs that cannot be the name of one."""
TOGETHER = ("pretrain", "finetune")
"""The verbs that several processes of torchrun run together; each of the others is for one process."""
WITHOUT_ARGUMENTS = ("studio", "runs", "watch", "cache")
"""The verbs that do something when called without arguments; the others show their help."""
USAGE_ERROR: Any = typer.BadParameter.__base__


class Verbs(TyperGroup):
    """Finds a verb in its module."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        name = MODULES.get(cmd_name, cmd_name)
        function = getattr(import_module(f"gptsmith.commands.{name}"), name)
        verb = typer.Typer(add_completion=False, rich_markup_mode="rich")
        verb.command(
            cmd_name,
            no_args_is_help=cmd_name not in WITHOUT_ARGUMENTS,
            rich_help_panel=next(panel for panel, verbs in PANELS.items() if cmd_name in verbs),
            epilog=function.epilog,
        )(function)
        return typer.main.get_command(verb)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Takes `--import FILE` from anywhere in the line: it is known before the verb's own options are read."""
        end = args.index("--") if "--" in args else len(args)
        places = [at for at, word in enumerate(args[: end - 1]) if word == "--import"]
        named = [word for at in places for word in args[at : at + 2]]
        rest = [word for at, word in enumerate(args) if at not in places and at - 1 not in places]
        return super().parse_args(ctx, [*named, *rest])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in VERBS and args[0] not in TOGETHER and is_one_of_torchrun():
            from gptsmith.base.errors import ConfigurationError

            raise ConfigurationError(
                f"{args[0]} runs in one process: leave torchrun out ({' and '.join(TOGETHER)} train in several)"
            )
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            from gptsmith.base.errors import ConfigurationError, did_you_mean
            from gptsmith.base.synonyms import ADVICE

            raise ConfigurationError(f"no such verb: {args[0]} ({ADVICE.get(args[0]) or did_you_mean(args[0], VERBS)})")
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with one_line_usage_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with one_line_usage_errors():
            return super().invoke(ctx)


def is_one_of_torchrun() -> bool:
    """Whether torchrun has started this process and others beside it."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


@contextmanager
def one_line_usage_errors() -> Iterator[None]:
    """Raises what is wrong with the options as a `ConfigurationError`.

    Raises:
        ConfigurationError: an option or argument is unknown, missing or not allowed.
    """
    try:
        yield
    except USAGE_ERROR as error:
        if "NoArgsIsHelp" in type(error).__name__:  # its message is the help
            raise
        from gptsmith.base.errors import ConfigurationError

        if (name := getattr(error, "option_name", None)) and error.ctx is not None and "possibilities" in vars(error):
            options = [option for parameter in error.ctx.command.params for option in parameter.opts]
            nearest = nearest_option(name, [option for option in options if option.startswith("--")])
            raise ConfigurationError(f"no such option: {name} ({nearest})") from None
        help_command = f" (see {error.ctx.command_path} --help)" if error.ctx is not None else ""
        raise ConfigurationError(f"{error.format_message().rstrip('.')}{help_command}") from None


def nearest_option(name: str, options: list[str]) -> str:
    """`did you mean --lora?` for an unknown option; for one that is a setting of runs, how to set that."""
    from gptsmith.base.errors import UnknownSettingError, did_you_mean, renamed

    if not renamed(name, options) and {"--set", "--config"} <= {*options}:  # a verb that trains
        from gptsmith.base.settings import found_elsewhere
        from gptsmith.base.synonyms import plain
        from gptsmith.train.run_settings import RunSettings

        if setting := found_elsewhere(UnknownSettingError(plain(name), []), RunSettings, "--set {}=..."):
            return setting
    return did_you_mean(name, options)


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Help for one verb: [bold]gptsmith pretrain --help[/bold]",
)


@app.callback(invoke_without_command=True)
def gptsmith(
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
    imports: list[str] = typer.Option(
        [],
        "--import",
        metavar="FILE",
        help="Run this Python file first, whose kinds settings can then name. Repeatable.",
    ),
) -> None:
    """Train, fine-tune, evaluate, serve, compress and explain GPT models on hardware that you own."""
    if imports:
        from gptsmith.base.outside import import_kinds

        for file in imports:
            import_kinds(file)
    if version:
        from gptsmith.version import __version__

        print(f"gptsmith {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs one verb. What a person got wrong becomes one line on standard error, and exit code 2."""
    # Names of files need not be UTF-8, and are shown nevertheless; standard error does so by itself.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if os.environ.get("WORLD_SIZE", "1") == "1":
        _run_verb()
        return
    # One of several processes. Threads that talk to the others abort or hang now and then when Python takes itself
    # apart, which would make a failure of a run that has ended well.
    code: Any = 1
    try:
        _run_verb()
        code = 0
    except SystemExit as left:
        code = left.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Cannot allocate memory")
"""What PyTorch says of a processor and of a GPU."""


def _run_verb() -> None:
    from gptsmith.base.console import harmless, outlive_readers
    from gptsmith.base.errors import GptsmithError
    from gptsmith.base.interrupts import EXIT_CODE, STOPPING, answered_at_once
    from gptsmith.base.progress import tell_problem

    outlive_readers()
    is_first, is_alone = (os.environ.get(name, alone) == alone for name, alone in (("RANK", "0"), ("WORLD_SIZE", "1")))
    try:
        with answered_at_once(STOPPING if is_first else None, exits=is_alone):
            app(prog_name="gptsmith")
    except GptsmithError as error:
        tell_problem(error)
        print(f"gptsmith: {harmless(' '.join(str(error).split()))}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)):
            raise
        print(
            "gptsmith: there is too little memory for this: choose a smaller model, batch or context, or free some",
            file=sys.stderr,
        )
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        named = f"{error.filename}: " if error.filename is not None else ""
        print(f"gptsmith: {named}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("gptsmith: interrupted", file=sys.stderr)
        sys.exit(EXIT_CODE + signal.SIGINT)
