"""Requests to train at the URL of an object store, which are met in a folder here."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, TypeVar

from gptsmith.base.errors import UserError
from gptsmith.convert.hub import on_the_hub
from gptsmith.run.distributed import Processes
from gptsmith.run.folder import Run
from gptsmith.run.remote import trained_for_store, waits_for_upload
from gptsmith.store.objects import is_remote
from gptsmith.train.request import FinetuneRequest, PretrainRequest

R = TypeVar("R", PretrainRequest, FinetuneRequest)


def trained_here(request: R, held: ExitStack) -> R:
    """The request with folders here in place of URLs.

    Args:
        held: keeps the right to write at the URL, and the upload, which ends with it.

    Raises:
        UserError: the store refuses, or somebody else trains the run.
    """
    if (url := _url(request)) is None:
        return request
    folder = str(held.enter_context(trained_for_store(url, is_new=request.resume is None)))
    return request.model_copy(update={"out": folder} if request.resume is None else {"resume": folder})


def uploaded_before(request: PretrainRequest | FinetuneRequest, processes: Processes) -> dict[str, Any] | None:
    """The figures of the requested run, if it had ended, and only the end of its upload was missing, which is made up
    for. None otherwise, and of a request for something else at the URL, which is met or refused as usual."""
    if (url := _url(request)) is None:
        return None
    found: dict[str, Any] = {}
    if processes.is_first:
        try:
            if (folder := waits_for_upload(url)) is not None:
                with trained_for_store(url):
                    run = Run(folder)
                    found["figures"] = run.result() if _asks_for(request, run) else None
        except UserError as error:
            found["error"] = str(error)
    found = processes.broadcast(found)
    if "error" in found:
        raise UserError(found["error"])
    return found.get("figures")


def _asks_for(request: PretrainRequest | FinetuneRequest, run: Run) -> bool:
    """Whether a request is met by a run that has ended: it began the run, or resumes it and changes nothing."""
    asked = request.recorded()
    if request.resume is not None:
        return not {"tokens", "target_loss", "settings"} & asked.keys()
    if run.made_by != request.made_by:
        return False
    if base := asked.get("base"):
        asked["base"] = str(on_the_hub(base) or base)
    return type(request).parse(run.request()).recorded() == asked


def _url(request: PretrainRequest | FinetuneRequest) -> str | None:
    place = request.out if request.resume is None else request.resume
    return str(place) if place is not None and is_remote(place) else None
