"""A run in the form of another program's."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gptsmith.base.assignments import with_assignments
from gptsmith.base.console import note
from gptsmith.base.errors import CheckpointError, ConversionError
from gptsmith.base.files import published_folder, require_room, require_writable, write_atomically
from gptsmith.base.verbs import verb
from gptsmith.convert.backends.own import OwnBackend
from gptsmith.convert.bases import model_folder_of
from gptsmith.convert.certificate import CERTIFICATE, PAGE, compare, is_certified_copy, require_passed
from gptsmith.convert.formats import KINDS, FormatSettings, Source
from gptsmith.convert.hub import require_out
from gptsmith.convert.hub_push import push, pushed_name, require_login
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.model_card import CARD, model_card
from gptsmith.model.transform import merge_lora, without_adapters
from gptsmith.run.privacy_claim import claim_of
from gptsmith.run.publish import beside, model_name
from gptsmith.run.writer import SPARE_BYTES
from gptsmith.workflows.model_requests import ExportRequest


@verb(ExportRequest, "run")
def export(request: ExportRequest) -> dict[str, Any]:
    """Writes a run's best checkpoint for another program, whole or not at all, with a certificate that it is the same
    model.

    Returns:
        folder, status (`exported`), format, precision, made_from, step, files, num_bytes, certificate and the figures
        of its logits, seconds; with `push`, pushed: the address of the commit on the Hub.

    Raises:
        ConversionError: the format does not know a part of the model, the copy is not the same model, or the folder is
            in use; nothing is left behind. Or it could not be pushed: then the folder stays, and the same call pushes
            it without a new export.
    """
    started = time.monotonic()
    run, to = request.run, request.to
    require_out(run, request.out)
    name = None if request.push is None else pushed_name(request.push)
    if name is not None:
        require_login(name)
    elif request.public:
        raise ConversionError("--public is for --push: leave it out, or name a model on the Hub with --push")
    given = {"precision": request.precision} if request.precision is not None else {}
    form = KINDS.settings(to).parse(with_assignments({**given, "kind": to}, request.settings), f"--to {to}")
    loaded = load(run, device="cpu", dtype="float32", keeps_blocks=form.keeps_blocks)
    target = Path(request.out) if request.out is not None else beside(run, f"-{to}")
    if name is not None and is_certified_copy(target, loaded.run.model_files):
        note(f"{target} is whole: it is not exported again")
        figures: dict[str, Any] = {}
    else:
        figures = _exported(request, loaded, form, target)
    files = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    pushed = {} if name is None else {"pushed": push(target, files, name, public=request.public)}
    return {
        "folder": str(target),
        "status": "exported",
        "format": to,
        "precision": form.precision,
        "made_from": str(run),
        "step": loaded.run.step,
        "files": [name for name in files if name not in (CERTIFICATE, PAGE)],
        "num_bytes": sum((target / path).stat().st_size for path in files if path not in (CERTIFICATE, PAGE)),
        **figures,
        **pushed,
        "seconds": time.monotonic() - started,
    }


def _exported(request: ExportRequest, loaded: Loaded, form: FormatSettings, target: Path) -> dict[str, Any]:
    """Writes the folder, and returns the figures of its certificate.

    Raises:
        ConversionError: as `export` does.
    """
    run, to = request.run, request.to
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
        if request.push is not None and not (folder / CARD).exists():
            write_atomically(folder / CARD, source.card.replace("library_name: transformers", "library_name: gguf", 1))
            files.append(folder / CARD)
        certificate = compare(
            f"Export of {source.name} to {to}", (str(run), target.name), own, form.backend(folder),
            precision=form.bound(source), files=[path for path in files if path.parent == folder],
        )  # fmt: skip
        require_passed(certificate, f"the export to {to}")
        certificate.save(folder)
    return certificate.figures()


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
        target, base, claim_of(loaded.run.folder, loaded.run.result()),
    )  # fmt: skip
