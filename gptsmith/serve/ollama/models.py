"""GET /api/tags, /api/ps, /api/version and POST /api/show: the models in Ollama's form."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.model.cost import cost
from gptsmith.serve.load import iso_time
from gptsmith.serve.ollama.schemas import OllamaShowRequest
from gptsmith.serve.served_models import ServedModel
from gptsmith.serve.state import State
from gptsmith.version import __version__

LATEST = ":latest"
NEVER = "9999-12-31T23:59:59Z"
"""When a model is unloaded."""


def known_name(state: State, name: str) -> str:
    """The name of a model without the tag that Ollama's clients add."""
    return name if name in state.models.by_name else name.removesuffix(LATEST)


async def tags(state: State, _: Request) -> Response:
    """The models that are served."""
    return JSONResponse({"models": [_listed(served) for served in state.models.by_name.values()]})


async def processes(state: State, _: Request) -> Response:
    """The models that are loaded, which all are."""
    models = []
    for served in state.models.by_name.values():
        size = _size_bytes(served)
        on_device = 0 if served.loaded.model.device.type == "cpu" else size
        more = {"expires_at": NEVER, "size_vram": on_device, "context_length": served.context_length}
        models.append({**_listed(served), **more})
    return JSONResponse({"models": models})


async def version(_: State, __: Request) -> Response:
    """The version of gptsmith."""
    return JSONResponse({"version": __version__})


async def show(state: State, body: OllamaShowRequest, log_fields: dict[str, Any]) -> Response:
    """One of the models.

    Raises:
        ApiError: there is none of that name.
    """
    served = state.models.get(known_name(state, body.model))
    log_fields["model"] = served.name
    template, config = served.loaded.template, served.loaded.config
    settings = served.sampling({}).plain()
    capabilities = ["embedding"] if served.run.classifier is not None else ["completion", "embedding"]
    if served.run.kind == "chat" and template is not None:
        capabilities += ["tools"]
        capabilities += ["thinking"] if "enable_thinking" in template.variables else []
    answer = {
        "modelfile": "",
        "parameters": "\n".join(f"{name} {value}" for name, value in settings.items() if value is not None),
        "template": "" if template is None else template.source,
        "details": _details(served),
        "model_info": {
            "general.architecture": "gptsmith",
            "general.basename": served.name,
            "general.parameter_count": cost(config).num_parameters,
            "gptsmith.context_length": served.context_length,
            "gptsmith.embedding_length": config.embed_dim,
            "gptsmith.vocab_size": config.vocab_size,
        },
        "capabilities": capabilities,
        "modified_at": iso_time(served.run.made),
    }
    return JSONResponse(answer)


def _listed(served: ServedModel) -> dict[str, Any]:
    name = served.name if ":" in served.name else served.name + LATEST
    return {
        "name": name,
        "model": name,
        "modified_at": iso_time(served.run.made),
        "size": _size_bytes(served),
        "digest": hashlib.sha256(f"{served.name} {served.run.made}".encode()).hexdigest(),
        "details": _details(served),
    }


def _size_bytes(served: ServedModel) -> int:
    """The memory that the weights take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in served.loaded.model.state_dict().values())


def _details(served: ServedModel) -> dict[str, Any]:
    count = cost(served.loaded.config).num_parameters
    return {
        "parent_model": "",
        "format": "gptsmith",
        "family": "gptsmith",
        "families": ["gptsmith"],
        "parameter_size": f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.2f}M",
        "quantization_level": str(served.loaded.model.compute_dtype).removeprefix("torch."),
    }
