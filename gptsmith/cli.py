"""The command line: a verb is a module of `gptsmith.commands`, imported only when it is called."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

VERBS = (
    "pretrain",
    "plan",
    "finetune",
    "generate",
    "chat",
    "serve",
    "predict",
    "evaluate",
    "compress",
    "merge",
    "import",
    "export",
    "certify",
    "info",
    "runs",
    "watch",
)
MODULES = {"import": "import_model"}
"""The modules of verbs that cannot be the name of one."""
INTERRUPTED = 130


class Verbs(TyperGroup):
    """Finds a verb in its module."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        name = MODULES.get(cmd_name, cmd_name)
        module = import_module(f"gptsmith.commands.{name}")
        verb = typer.Typer(add_completion=False, rich_markup_mode="rich")
        function = getattr(module, name)
        without_arguments = cmd_name in ("runs", "watch")
        verb.command(cmd_name, no_args_is_help=not without_arguments, epilog=getattr(function, "epilog", None))(
            function
        )
        return typer.main.get_command(verb)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            from gptsmith.base.errors import UserError, did_you_mean

            raise UserError(f"no such verb: {args[0]} ({did_you_mean(args[0], VERBS)})")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def gptsmith(version: bool = typer.Option(False, "--version", help="Show the version and leave.")) -> None:
    """Make, tune, serve, shrink and explain GPT models on hardware that you own."""
    if version:
        from gptsmith.version import __version__

        print(f"gptsmith {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs one verb. What a person got wrong becomes one line on standard error, and exit code 2."""
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


def _run_verb() -> None:
    from gptsmith.base.errors import GptsmithError

    try:
        app()
    except GptsmithError as error:
        print(f"gptsmith: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        print("gptsmith: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
