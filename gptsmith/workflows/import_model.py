"""A run of another program's model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.verbs import verb
from gptsmith.convert.adapters import ADAPTER_CONFIG, AdapterFolder, is_adapter_folder
from gptsmith.convert.hub import PREFIX, fetch
from gptsmith.convert.huggingface import ModelFolder, refuse_changed_files
from gptsmith.convert.import_adapter import import_adapter
from gptsmith.convert.import_foreign import import_foreign
from gptsmith.convert.load import load
from gptsmith.convert.open import open_foreign
from gptsmith.run.folder import require_free
from gptsmith.run.publish import model_name
from gptsmith.workflows.model_requests import ImportModelRequest


@verb(ImportModelRequest, "source")
def import_model(request: ImportModelRequest) -> dict[str, Any]:
    """Makes a run of a Hugging Face model folder, of a GGUF file or of adapters in PEFT's form, whole or not at all,
    with a certificate that it is the same model.

    Returns:
        run, status (`imported`), made_from, base (of adapters), model_type, num_parameters, weight_bytes, certificate
        (`passed`, or `not run` where Transformers, llama.cpp for a GGUF file or PEFT for adapters is not installed) and
        the figures of its logits, step, seconds.

    Raises:
        UserError: the family is not known, something in the folder is not sound, the copy would not be the same
            model, or the new folder is in use.
    """
    started = time.monotonic()
    source = request.source
    folder = Path(source)
    if not folder.exists() and (str(source).startswith(PREFIX) or folder.suffix != ".gguf"):
        name, _, revision = str(source).partition("@")
        folder = fetch(name, request.revision or revision or None)
    elif request.revision is not None:
        raise UserError(f"--revision is of a model on the Hub, and {source} is here")
    target = Path(request.out) if request.out is not None else Path("runs") / model_name(folder)
    require_free(target)
    if is_adapter_folder(folder):
        refuse_changed_files(folder)
        adapter = AdapterFolder.open(folder)
        figures = import_adapter(
            adapter, load(adapter.require_base(request.base), device="cpu", dtype="float32"), target
        )
    elif request.base is not None:
        raise UserError(f"--base is for adapters, and {source} holds none (no {ADAPTER_CONFIG})")
    else:
        # What is no model is refused as the folder of one, with what is missing.
        found = open_foreign(folder) or ModelFolder.open(folder)
        figures = import_foreign(found, target)
    return {**figures, "seconds": time.monotonic() - started}
