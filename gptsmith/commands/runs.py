"""gptsmith runs"""

from __future__ import annotations

from gptsmith.base.hints import shell_command
from gptsmith.commands.options import Json, command
from gptsmith.workflows.model_requests import RunsRequest


@command(
    RunsRequest,
    arguments={"folder": "FOLDER"},
    panels={},
    examples=("gptsmith runs", "gptsmith runs experiments/ --json"),
)
def runs(request: RunsRequest, json: Json = False) -> None:
    """List the runs in a folder, with their figures."""
    from rich.table import Table

    from gptsmith.base import console
    from gptsmith.workflows.runs import FIGURES
    from gptsmith.workflows.runs import runs as run_runs

    rows = run_runs(request.folder)
    if json:
        console.show_json({"runs": rows})
        return
    if not rows:
        console.note(f"no runs in {request.folder} yet: {shell_command('pretrain', 'TEXT')} makes one")
        return
    columns = ("run", "status", *FIGURES)
    cells = [["" if row.get(column) is None else console.readable(row[column]) for column in columns] for row in rows]
    labels = [console.label_of(column) for column in columns]
    widths = [max(map(len, column)) for column in zip(labels, *cells, strict=True)]
    if sum(widths) + 2 * len(columns) > console.results.width:
        labels = [label.replace(" ", "\n") for label in labels]  # labels give way to names
    table = Table(box=None, padding=(0, 2, 0, 0))
    for label in labels:  # names and reasons may be long: they go on in the next line, and are not cut off
        table.add_column(label, overflow="fold")
    for row_cells in cells:
        table.add_row(*row_cells)
    console.results.print(table)
