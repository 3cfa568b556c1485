"""An audit of a model after it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.files import write_atomically
from gptsmith.base.json_text import json_text
from gptsmith.convert.load import load
from gptsmith.convert.open import open_model
from gptsmith.privacy.audit import audit_run as audited
from gptsmith.privacy.page import audit_page
from gptsmith.store.objects import Store, is_remote
from gptsmith.train.report import report
from gptsmith.train.report_by_heart import AUDIT
from gptsmith.workflows.audit_find import audit_find
from gptsmith.workflows.requests import AuditRequest, refuse

PAGE = "audit.html"
OF_TEXTS = ("kind", "names", "validation", "passages", "encoding", "encoding_errors", "html")
"""Fields of the request that are for texts alone."""


def audit_run(request: AuditRequest) -> dict[str, Any]:
    """What a run can recite of the texts that it learnt from. It is kept in the run for its owner alone, as JSON and as
    a page; the run's report gets the figures. With `find`, everything that it holds of some words.

    Returns:
        with `find`, what `gptsmith.workflows.audit_find` says; else
        run, step, says, remarks, file and page (where it is kept), learned (of each text its run, kind, sizes and
        counts, threshold, and how much of it some tries give), missing (why others are not here), threshold,
        num_passages, num_canary_passages (of planted canaries, which are not listed), by_copies, checkpoints (of each
        that is kept its step, is_served and counts), tokenizer_words (of few documents: word, num_documents),
        epsilon_claimed, seconds, and passages and held_out: of each passage text, num_tokens, num_copies, tries, file,
        start and stop (bytes), line, and the keys of a source; near_passages: the same of those that are right but for
        one token in twelve; answers: the same of short answers, and bits. Of a run with canaries also what
        `gptsmith.privacy.canaries.canary_figures` gives.

    Raises:
        MissingExtraError: the library that indexes text is not installed.
        UserError: the run's text is not here, or it writes no text.
    """
    (run,) = request.sources
    if is_remote(run) and not request.find:
        place = Store(run).url
        raise ConfigurationError(f"{place} is in a store, and audit takes folders and files here: copy it here first")
    of_texts = {f"--{name.replace('_', '-')}": getattr(request, name) for name in OF_TEXTS}
    if request.find:
        refuse("--find", {**of_texts, "--minutes": request.minutes})
        return audit_find(load(run, device=request.device), request.find, request.out)
    if request.out is not None:
        raise ConfigurationError(
            f"--out is for the audit of a text, or for --find; that of a run is kept in it, as {Path(run) / PAGE} and "
            f"{Path(run) / AUDIT}: leave --out out"
        )
    refuse(f"the audit of a run ({run})", of_texts)
    found = audited(open_model(run), minutes=request.minutes, device=request.device)
    folder = Path(found["run"])
    found |= {"file": str(folder / AUDIT), "page": str(folder / PAGE)}
    write_atomically(folder / AUDIT, json_text(found, indent=1) + "\n", private=True)
    write_atomically(folder / PAGE, audit_page(found), private=True)
    report(folder)
    return found
