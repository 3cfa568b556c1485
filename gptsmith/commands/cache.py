"""gptsmith cache"""

from __future__ import annotations

from pathlib import Path

from gptsmith.commands.options import Json, command
from gptsmith.workflows.model_requests import CacheRequest

NAME_CHARACTERS = 12
"""As much of a hash as tells artefacts apart; `--json` has whole paths."""


@command(
    CacheRequest,
    arguments={},
    panels={"Empty": ("empty", "kind", "older_than")},
    sweeps=False,
    examples=("gptsmith cache", "gptsmith cache --empty --kind tokens --older-than 30"),
)
def cache(request: CacheRequest, json: Json = False) -> None:
    """List what is cached and what killed commands left, or delete it."""
    from rich.table import Table

    from gptsmith.base import console
    from gptsmith.base.files import readable_bytes
    from gptsmith.workflows.cache import cache as run_cache

    figures = run_cache(request)
    if json:
        console.show_json(figures)
        return
    table = Table("kind", "size", "unused for", "name", box=None, padding=(0, 2, 0, 0))
    table.add_column("made from", overflow="fold")
    for row in figures["artefacts"]:
        days = f"{row['days_unused']:.0f} days"
        name = Path(row["path"]).name
        table.add_row(row["kind"], readable_bytes(row["num_bytes"]), days, name[:NAME_CHARACTERS], row["made_from"])
    console.results.print(table)
    total, count = readable_bytes(figures["num_bytes"]), len(figures["artefacts"])
    console.note(f"{figures['folder']}: {total} in {count:,} artefacts {'deleted' if request.empty else ''}".rstrip())
    if in_use := figures.get("in_use"):
        console.note(f"{len(in_use):,} kept, because they are in use or were used just now")
