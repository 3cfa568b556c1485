"""gptsmith watch"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.workflows.model_requests import WatchRequest


@command(
    WatchRequest,
    arguments={"runs": "RUN"},
    panels={"Page": ("port", "open")},
    examples=("gptsmith watch --open", "gptsmith watch runs/mine runs/other --port 8080"),
)
def watch(request: WatchRequest, json: Json = False) -> None:
    """Show runs on a live page, while they train and afterwards."""
    import signal
    import threading
    import webbrowser

    import typer

    from gptsmith.base import console
    from gptsmith.base.interrupts import EXIT_CODE
    from gptsmith.workflows.watch import watch_server

    with watch_server(request.runs, port=request.port) as server:
        # Not by KeyboardInterrupt: where it is raised in a callback of a library, it is lost.
        stopped = threading.Event()

        def stop(*_: object) -> None:
            stopped.set()
            threading.Thread(target=server.shutdown).start()

        signal.signal(signal.SIGINT, stop)
        console.note(console.styled("watching on [bold]{}[/bold] (Ctrl-C stops it)", server.address))
        if json:
            console.show_json({"address": server.address, "runs": [*server.runs()]})
        if request.open:
            webbrowser.open(server.address)
        server.serve_forever()
    if stopped.is_set():
        raise typer.Exit(EXIT_CODE + signal.SIGINT)
