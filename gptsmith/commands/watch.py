"""gptsmith watch"""

from __future__ import annotations

from typing import Annotated

import typer


def watch(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Run folders; all of runs/ if not given.")
    ] = None,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1; 0 takes a free one.")] = 0,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Show runs on a live page, while they train and afterwards."""
    import signal
    import threading
    import webbrowser

    from gptsmith.base import console
    from gptsmith.workflows.watch import watch_server

    with watch_server(runs or (), port=port) as server:
        # Not by KeyboardInterrupt: where it is raised in a callback of a library, it is lost.
        signal.signal(signal.SIGINT, lambda *_: threading.Thread(target=server.shutdown).start())
        console.note(f"watching on [bold]{server.address}[/bold] (Ctrl-C ends it)")
        if open_page:
            webbrowser.open(server.address)
        server.serve_forever()
