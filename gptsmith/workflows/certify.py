"""Whether two models are the same, with numbers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.base.files import write_atomically, write_json, writing
from gptsmith.base.verbs import verb
from gptsmith.convert.backends import Backend
from gptsmith.convert.backends.own import OwnBackend
from gptsmith.convert.certificate import BOUNDS, CERTIFICATE, PAGE, certificate_page, compare
from gptsmith.convert.load import load
from gptsmith.convert.open import found_at
from gptsmith.workflows.model_requests import CertifyRequest


@verb(CertifyRequest, "one", "other")
def certify(request: CertifyRequest) -> dict[str, Any]:
    """Compares two models that share a tokenizer.

    Returns:
        status (`passed` or `failed`), one, other, checks (of each: name, status, figures, bound, why), seconds.

    Raises:
        UserError: a model cannot be read, or their tokenizers differ.
        MissingExtraError: a GGUF file was given, and llama.cpp's library is not installed.
    """
    started = time.monotonic()
    one, other, precision = request.one, request.other, request.precision
    if precision not in BOUNDS:
        raise UserError(f"no such precision: {precision} (allowed: {', '.join(BOUNDS)})")
    here, there = _own(one), _other(other)
    certificate = compare(f"{one} and {other}", (str(one), str(other)), here, there, precision=precision)
    if certificate.checks[0].status == "failed":
        raise UserError(f"{one} and {other} do not share a tokenizer: {certificate.checks[0].why}")
    if request.out is not None:
        out = Path(request.out)
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
        write_json(out / CERTIFICATE, certificate.plain())
        write_atomically(out / PAGE, certificate_page(certificate))
    plain = certificate.plain()
    return {
        "status": plain["status"],
        "one": str(one),
        "other": str(other),
        "checks": plain["checks"],
        "seconds": time.monotonic() - started,
    }


def _own(path: str | Path) -> OwnBackend:
    loaded = load(path, device="cpu", dtype="float32")
    return OwnBackend(loaded.model, loaded.tokenizer, loaded.template, loaded.run.model_files)


def _other(path: str | Path) -> Backend:
    """The second side: a GGUF file as llama.cpp reads it."""
    file = found_at(path)
    if file.suffix != ".gguf":
        return _own(path)
    try:
        from gptsmith.convert.backends.llama_cpp import LlamaCppBackend
    except ImportError:
        raise MissingExtraError(f"{path}: reading GGUF with llama.cpp", "gptsmith[interop]") from None
    return LlamaCppBackend(file)
