"""gptsmith studio"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.serve.studio.request import StudioRequest

LAST_READ_S = 2


@command(
    StudioRequest,
    arguments={"folder": "FOLDER"},
    panels={"Page": ("port", "no_open", "install_shortcut"), "Access": ("allow",), "Machine": ("device",)},
    examples=("gptsmith studio", "gptsmith studio --port 8020 --allow models"),
)
def studio(request: StudioRequest, json: Json = False) -> None:
    """Make, tune and use models in a browser, without a terminal."""
    import os
    import signal
    import webbrowser
    from pathlib import Path

    import typer

    from gptsmith.base.console import note, show_json, styled
    from gptsmith.base.interrupts import EXIT_CODE
    from gptsmith.serve.studio.place import StudioRunsError
    from gptsmith.serve.studio.running import StudioServer
    from gptsmith.serve.studio.shortcut import install_shortcut

    if request.install_shortcut:
        folder = Path.home() / "gptsmith" if request.folder == "." else Path(request.folder).absolute()
        entry = install_shortcut(folder)
        note(f"{entry} opens the studio of {folder}")
        if json:
            show_json({"entry": str(entry), "folder": str(folder)})
        return
    try:
        server = StudioServer(request)
    except StudioRunsError as error:
        if not error.address:
            raise
        note(f"{error}")
        if not request.no_open:
            webbrowser.open(error.address)
        return
    note(styled("the studio is [bold]{}[/bold] (Ctrl-C ends it; what trains goes on)", server.page))
    if json:
        show_json({"address": server.page, "folder": str(server.studio.place.folder)})
    if not request.no_open:
        webbrowser.open(server.page)
    server.run()
    code = EXIT_CODE + signal.SIGINT if server.stopped_by == signal.SIGINT else 0
    if not server.has_ended(LAST_READ_S):
        os._exit(code)
    raise typer.Exit(code)
