"""The cache: what is in it, and emptying it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.errors import UserError, did_you_mean
from gptsmith.base.leftovers import noted_folders
from gptsmith.base.verbs import verb
from gptsmith.data.cache_contents import KINDS, contents
from gptsmith.workflows.model_requests import CacheRequest

DAY_S = 86_400


@verb(CacheRequest)
def cache(request: CacheRequest) -> dict[str, Any]:
    """List what is cached, and what killed commands left in the cache, in `runs`, in the working directory and in the
    folders that they wrote in; or delete it, but for what is in use.

    Returns:
        folder, num_bytes, artefacts (a list of kind, path, num_bytes, made_from, days_unused); with `empty` the
        artefacts that were deleted, and in_use (those that were not).

    Raises:
        UserError: there is no such kind.
    """
    for kind in request.kind:
        if kind not in KINDS:
            raise UserError(f"no such kind of artefact in the cache: {kind} ({did_you_mean(kind, KINDS)})")
    now, folder = time.time(), default_cache()
    chosen = [
        (artefact, (now - artefact.used_at_s) / DAY_S)
        for artefact in contents(folder, (Path("runs"), Path(), *noted_folders()))
        if not request.kind or artefact.kind in request.kind
    ]
    chosen = [(artefact, days) for artefact, days in chosen if days >= (request.older_than or 0)]
    deleted = {artefact.path for artefact, _ in chosen if request.empty and artefact.empty()}
    rows: list[dict[str, Any]] = [
        {
            "kind": artefact.kind,
            "path": str(artefact.path),
            "num_bytes": artefact.num_bytes,
            "made_from": artefact.made_from,
            "days_unused": days,
        }
        for artefact, days in chosen
        if not request.empty or artefact.path in deleted
    ]
    figures = {"folder": str(folder), "num_bytes": sum(row["num_bytes"] for row in rows), "artefacts": rows}
    in_use = [str(artefact.path) for artefact, _ in chosen if artefact.path not in deleted]
    return {**figures, "in_use": in_use} if request.empty else figures
