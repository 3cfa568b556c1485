"""An audit of a model after it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gptsmith.base.files import write_atomically
from gptsmith.base.json_text import json_text
from gptsmith.convert.load import load
from gptsmith.convert.open import open_model
from gptsmith.privacy.audit import audit_run as audited
from gptsmith.workflows.audit_find import audit_find
from gptsmith.workflows.requests import AuditRequest, refuse

AUDIT = "audit.json"


def audit_run(request: AuditRequest) -> dict[str, Any]:
    """What a run can recite of the texts that it learnt from, which is kept in it, for its owner alone; or everything
    that it holds of some words.

    Returns:
        with `find` what `gptsmith.workflows.audit_find` says; else
        run, step, says, remarks, file (where it is kept), learned (of each text its run, kind, sizes, threshold and
        counts), missing (why others are not here), threshold, num_passages, checkpoints (of each that is kept its step,
        is_served and counts), seconds, and passages and held_out: of each passage text, num_tokens, num_copies, tries,
        file, start and stop (bytes), line, and where else it stands.

    Raises:
        MissingExtraError: the library that indexes text is not installed.
        UserError: the run's text is not here, or it writes no text.
    """
    (run,) = request.sources
    others = {"--kind": request.kind, "--validation": request.validation}
    if request.find:
        refuse("--find", {**others, "--minutes": request.minutes})
        return audit_find(load(run, device=request.device), request.find, request.out)
    refuse("an audit of a run", {**others, "--out": request.out})
    found = audited(open_model(run), minutes=request.minutes, device=request.device)
    path = Path(found["run"]) / AUDIT
    found["file"] = str(path)
    write_atomically(path, json_text(found, indent=1) + "\n", private=True)
    return found
