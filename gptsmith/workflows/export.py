"""A run in the form of another program's."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import CheckpointError, ConversionError
from gptsmith.base.files import published_folder, require_room, require_writable
from gptsmith.base.settings import with_assignments
from gptsmith.base.verbs import verb
from gptsmith.convert.backends.own import OwnBackend
from gptsmith.convert.bases import model_folder_of
from gptsmith.convert.certificate import compare, require_passed
from gptsmith.convert.formats import KINDS, Source
from gptsmith.convert.hub import require_out
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.model_card import model_card
from gptsmith.model.transform import merge_lora, without_adapters
from gptsmith.run.publish import beside, model_name
from gptsmith.run.writer import SPARE_BYTES
from gptsmith.workflows.requests import ExportRequest


@verb(ExportRequest, "run")
def export(request: ExportRequest) -> dict[str, Any]:
    """Writes a run's best checkpoint for another program, whole or not at all, with a certificate that it is the same
    model.

    Returns:
        folder, status (`exported`), format, precision, made_from, step, files, num_bytes, certificate and the figures
        of its logits, seconds.

    Raises:
        ConversionError: the format does not know a part of the model, the copy is not the same model, or the folder is
            in use; nothing is left behind.
    """
    started = time.monotonic()
    run, to = request.run, request.to
    require_out(run, request.out)
    given = {"precision": request.precision} if request.precision is not None else {}
    form = KINDS.settings(to).parse(with_assignments({**given, "kind": to}, request.settings), f"--to {to}")
    loaded = load(run, device="cpu", dtype="float32", keeps_blocks=form.keeps_blocks)
    target = Path(request.out) if request.out is not None else beside(run, f"-{to}")
    if target.exists():
        raise ConversionError(f"{target} exists already: choose another --out")
    require_writable(target)
    name = target.name if request.out is not None else model_name(run)
    source = _source(loaded, name, target, takes_adapters=form.takes_adapters)
    form.check(source)
    require_room(target, sum(p.nbytes for p in source.model.parameters()) + SPARE_BYTES, "the export")
    own = OwnBackend(source.model, source.tokenizer, source.template, loaded.run.model_files)
    with published_folder(target) as folder:
        form.write(source, folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        certificate = compare(
            f"Export of {source.name} to {to}", (str(run), target.name), own, form.backend(folder),
            precision=form.bound(source), files=[path for path in files if path.parent == folder],
        )  # fmt: skip
        require_passed(certificate, f"the export to {to}")
        certificate.save(folder)
    return {
        "folder": str(target),
        "status": "exported",
        "format": to,
        "precision": form.precision,
        "made_from": str(run),
        "step": loaded.run.step,
        "files": [str(path.relative_to(folder)) for path in files],
        "num_bytes": sum((target / path.relative_to(folder)).stat().st_size for path in files),
        **certificate.figures(),
        "seconds": time.monotonic() - started,
    }


def _source(loaded: Loaded, name: str, target: Path, *, takes_adapters: bool) -> Source:
    """The model of a run to be written. Adapters become part of its weights where the format does not take them."""
    model = loaded.model
    has_adapters = model.config.linear.has_adapters
    named = loaded.run.request().get("base")
    base = None
    if has_adapters and takes_adapters and named is not None:
        with suppress(CheckpointError):  # where it is gone, its weights are written beside the adapters
            base = model_folder_of(loaded.run.paths.located(named), without_adapters(model))
    if has_adapters and not takes_adapters:
        note("the adapters become part of the weights (--to peft writes them alone)", "dim")
        model = merge_lora(model)
    model_type = loaded.run.lineage()[-1].request.get("model_type")
    return Source(
        name, model, loaded.tokenizer, loaded.template, loaded.run.generation(), model_type, model_card(loaded, name),
        target, base,
    )  # fmt: skip
