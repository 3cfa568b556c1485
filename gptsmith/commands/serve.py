"""gptsmith serve"""

from __future__ import annotations

from typing import Annotated

import typer

from gptsmith.commands.options import Device


def serve(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders, or NAME=RUN.")],
    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine's need keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    api_key_file: Annotated[str | None, typer.Option(metavar="FILE", help="Keys, one a line.")] = None,
    host_name: Annotated[list[str] | None, typer.Option(help="A name that the server may be asked for by.")] = None,
    cors: Annotated[list[str] | None, typer.Option(metavar="ORIGIN", help="An origin whose pages may ask.")] = None,
    max_streams: Annotated[int, typer.Option(min=1, help="Texts that a model writes at the same time.")] = 16,
    max_waiting: Annotated[int, typer.Option(min=0, help="Texts that may wait for a model.")] = 64,
    timeout_s: Annotated[float, typer.Option(min=1, help="The longest that a text may take, in seconds.")] = 600.0,
    drain_s: Annotated[float, typer.Option(min=0, help="How long running requests may go on after SIGTERM.")] = 30.0,
    share_prompts: Annotated[
        bool, typer.Option("--share-prompts", help="Show others beginnings of the texts that models were trained on.")
    ] = False,
    draft: Annotated[str | None, typer.Option(metavar="RUN", help="A smaller run that guesses ahead.")] = None,
    device: Device = "auto",
) -> None:
    """Answer OpenAI's API with one or several models, for many people at once."""
    import logging

    from gptsmith.base import console
    from gptsmith.base.errors import MissingExtraError

    try:
        from gptsmith.serve.app import Server
        from gptsmith.serve.models import Models
        from gptsmith.serve.run import is_loopback, listen, read_keys
        from gptsmith.serve.run import serve as run_server
    except ImportError:
        raise MissingExtraError("serve", "serve") from None
    from gptsmith.serve.settings import ServeSettings
    from gptsmith.workflows.load import load
    from gptsmith.workflows.serve import load_served

    settings = ServeSettings(
        max_streams=max_streams, max_waiting=max_waiting, timeout_s=timeout_s, drain_s=drain_s,
        hosts=tuple(host_name or ()), cors=tuple(cors or ()),
    )  # fmt: skip
    keys = read_keys(api_key_file, host)
    with listen(host, port) as bound:
        served = load_served(runs, device=device, with_prompts=share_prompts or is_loopback(host))
        models = Models(served, settings, load(draft, device=device) if draft else None)
        logging.basicConfig(level=logging.INFO, format="%(message)s")

        def ready(address: str) -> None:
            names = ", ".join(f"{run.name} ({run.kind})" for run in served)
            console.results.print(f"{names} at {address}/v1", soft_wrap=True)

        run_server(Server(models, settings, keys), bound, ready)
