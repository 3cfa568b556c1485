"""GET /api/tags, /api/ps, /api/version and POST /api/show: the models in Ollama's form."""

from __future__ import annotations

import hashlib
import math
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.model.cost import cost
from gptsmith.serve.load import iso_time
from gptsmith.serve.model_entry import ModelEntry
from gptsmith.serve.ollama.schemas import OllamaShowRequest
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.state import State
from gptsmith.version import __version__

LATEST = ":latest"
NEVER = "9999-12-31T23:59:59Z"
"""When a model is unloaded that stays as long as the server."""


def known_name(state: State, name: str) -> str:
    """The name of a model without the tag that Ollama's clients add."""
    return name if name in state.models.entries else name.removesuffix(LATEST)


async def tags(state: State, _: Request) -> Response:
    """The models that are served, loaded or not."""
    await state.models.refresh()
    return JSONResponse({"models": [_listed(entry) for entry in state.models.entries.values()]})


async def processes(state: State, _: Request) -> Response:
    """The models that are loaded."""
    models = []
    for entry in state.models.entries.values():
        if (served := entry.served) is None:
            continue
        size = _size_bytes(served)
        on_device = 0 if served.loaded.model.device.type == "cpu" else size
        more = {"expires_at": _expiry(entry), "size_vram": on_device, "context_length": served.context_length}
        models.append({**_listed(entry), "size": size, **more})
    return JSONResponse({"models": models})


def _expiry(entry: ModelEntry) -> str:
    left_s = entry.unloads_in_s
    return NEVER if math.isinf(left_s) else iso_time(math.ceil(time.time() + left_s))


async def version(_: State, __: Request) -> Response:
    """The version of gptsmith."""
    return JSONResponse({"version": __version__})


async def show(state: State, body: OllamaShowRequest, log_fields: dict[str, Any]) -> Response:
    """One of the models.

    Raises:
        ApiError: there is none of that name.
    """
    entry = await state.models.entry(known_name(state, body.model))
    log_fields["model"] = entry.name
    about = entry.about
    capabilities = ["embedding"] if about.kind == "classifier" else ["completion", "embedding"]
    if about.kind == "chat" and about.template is not None:
        capabilities += ["tools"]
        capabilities += ["thinking"] if "enable_thinking" in about.template.variables else []
    answer = {
        "modelfile": "",
        "parameters": "\n".join(f"{name} {value}" for name, value in about.sampling.items() if value is not None),
        "template": "" if about.template is None else about.template.source,
        "details": _details(entry),
        "model_info": {
            "general.architecture": "gptsmith",
            "general.basename": entry.name,
            "general.parameter_count": cost(about.config).num_parameters,
            "gptsmith.context_length": entry.context_length,
            "gptsmith.embedding_length": about.config.embed_dim,
            "gptsmith.vocab_size": about.config.vocab_size,
        },
        "capabilities": capabilities,
        "modified_at": iso_time(about.made),
    }
    return JSONResponse(answer)


def _listed(entry: ModelEntry) -> dict[str, Any]:
    name, about = entry.name if ":" in entry.name else entry.name + LATEST, entry.about
    return {
        "name": name,
        "model": name,
        "modified_at": iso_time(about.made),
        "size": about.file_bytes,
        "digest": hashlib.sha256(f"{entry.name} {about.made}".encode()).hexdigest(),
        "details": _details(entry),
    }


def _size_bytes(served: ServedModel) -> int:
    """The memory that the weights take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in served.loaded.model.state_dict().values())


def _details(entry: ModelEntry) -> dict[str, Any]:
    count, served = cost(entry.about.config).num_parameters, entry.served
    return {
        "parent_model": "",
        "format": "gptsmith",
        "family": "gptsmith",
        "families": ["gptsmith"],
        "parameter_size": f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.2f}M",
        "quantization_level": "" if served is None else str(served.loaded.model.compute_dtype).removeprefix("torch."),
    }
