"""gptsmith serve"""

from __future__ import annotations

from typing import Annotated

import typer

from gptsmith.commands.options import Device


def serve(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run folders, or NAME=RUN for a name of its own.")
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than this machine's own need --api-key-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8000,
    api_key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Keys that are accepted, one a line; only you may read it.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name the server is asked for by. May be given again.")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="An origin whose pages may ask. May be given again.")
    ] = None,
    max_num_seqs: Annotated[int, typer.Option(min=1, help="Texts that a model writes at the same time.")] = 16,
    max_queue_size: Annotated[int, typer.Option(min=0, help="Texts that may wait for a model.")] = 64,
    max_choices: Annotated[int, typer.Option(min=1, help="Texts that one request may ask for.")] = 16,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens that a text may have; the context alone bounds it if not given.")
    ] = None,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="The longest body that is read.")] = 2_000_000,
    timeout_s: Annotated[float, typer.Option(min=0.001, help="The longest that a text may take.")] = 600.0,
    drain_s: Annotated[float, typer.Option(min=0, help="How long requests may go on after SIGTERM.")] = 30.0,
    share_prompts: Annotated[
        bool, typer.Option("--share-prompts", help="Show words of the training text also to others than this machine.")
    ] = False,
    draft: Annotated[
        str | None, typer.Option(metavar="RUN", help="A smaller run with the same tokenizer that guesses ahead.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Serve models: OpenAI's API and a chat page, on one port, for many people at once."""
    import logging

    from gptsmith.base import console
    from gptsmith.base.errors import MissingExtraError, UserError

    try:
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise MissingExtraError("gptsmith serve", "serve") from None
    from gptsmith.convert.load import load
    from gptsmith.serve.auth import read_api_keys
    from gptsmith.serve.hosts import is_loopback
    from gptsmith.serve.load import load_served
    from gptsmith.serve.served_models import ServedModels
    from gptsmith.serve.server import GracefulServer, bound_socket
    from gptsmith.serve.settings import ServeSettings
    from gptsmith.serve.state import State

    if api_key_file is None and not is_loopback(host):
        raise UserError(f"--host {host} lets others in: give --api-key-file FILE, or leave --host out")
    settings = ServeSettings(
        max_num_seqs=max_num_seqs, max_queue_size=max_queue_size, max_choices=max_choices, max_tokens=max_tokens,
        max_body_bytes=max_body_bytes, timeout_s=timeout_s, drain_s=drain_s, cors=tuple(cors or ()),
        hosts=tuple(allow_host or ()),
    )  # fmt: skip
    keys = None if api_key_file is None else read_api_keys(api_key_file)
    with bound_socket(host, port) as listening:
        served = load_served(runs, device=device, with_prompts=share_prompts or is_loopback(host))
        models = ServedModels(served, settings, None if draft is None else load(draft, device=device))
        state = State(models, settings, host=host, keys=keys)
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
        address = f"[{host}]" if ":" in host else host
        console.note(f"serving {', '.join(models.by_name)} on http://{address}:{listening.getsockname()[1]}/")
        GracefulServer(state).run([listening])
