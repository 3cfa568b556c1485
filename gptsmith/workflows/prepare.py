"""A text, prepared once for many trainings."""

from __future__ import annotations

import time
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.machine import num_cpus
from gptsmith.base.outside import imported_files
from gptsmith.base.verbs import verb
from gptsmith.data.preparation.job import Job
from gptsmith.data.preparation.run import require_executor, require_free_place, run_preparation
from gptsmith.data.prepare import text_files
from gptsmith.data.prepared_files import is_prepared
from gptsmith.data.prepared_folder import PreparedFolder
from gptsmith.train.prepare_request import PrepareRequest
from gptsmith.train.resolve import settings_before_data


@verb(PrepareRequest, "sources")
def prepare(request: PrepareRequest) -> dict[str, Any]:
    """Prepare text for training: read it, in several processes or on several machines, deduplicate and split it, train
    its tokenizer, and encode it, into a folder or an object store. `pretrain` takes it like the text itself. The same
    call again resumes one that was interrupted.

    Returns:
        prepared (the folder or URL), fingerprint, num_files, num_documents, num_duplicates, num_bytes, vocab_size,
        num_tokens, num_validation_tokens, seconds; skipped (the reason for each file that was not read) and remarks
        (lines about what else of each was not read).

    Raises:
        UserError: a file cannot be read, a setting is not allowed, the place holds something else, or what runs the
            workers is not there; nothing is left half-written.
    """
    started = time.monotonic()
    place, settings = str(request.out), settings_before_data(request.of_training())
    require_executor(request.executor)
    require_free_place(place)
    if prepared := [source for source in request.sources if is_prepared(source)]:
        raise UserError(f"{prepared[0]} is prepared already, or no text: name files, folders or patterns")
    job = Job.of(
        text_files(request.sources, settings.data, request.validation),
        settings.data,
        settings.tokenizer,
        settings.train.seed,
        without=request.without,
        redact_passages=request.redact_passages,
        request=request.recorded(),
        imports=[file.path for file in imported_files()],
    )
    run_preparation(place, job, request.executor, request.workers or num_cpus())
    folder = PreparedFolder(place)
    summary = folder.summary()
    return {
        "prepared": place,
        "fingerprint": folder.fingerprint,
        **{name: summary[name] for name in ("num_files", "num_documents", "num_duplicates", "num_bytes")},
        "vocab_size": folder.tokenizer.vocab_size,
        "num_tokens": summary["train"]["num_tokens"],
        "num_validation_tokens": summary.get("validation", {}).get("num_tokens", 0),
        "seconds": time.monotonic() - started,
        "skipped": summary["skipped"],
        "remarks": summary["remarks"],
    }
