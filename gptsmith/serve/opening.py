"""What a request to serve opens: the port, with what guards it, and the models."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from gptsmith.base.errors import UserError
from gptsmith.convert.load import load
from gptsmith.serve.auth import ApiKeys, read_api_keys
from gptsmith.serve.hosts import is_loopback
from gptsmith.serve.load import load_served
from gptsmith.serve.model_folders import ModelFolders, split_folders
from gptsmith.serve.request import ServeRequest
from gptsmith.serve.served_models import ServedModels
from gptsmith.serve.server import bound_socket
from gptsmith.serve.state import State
from gptsmith.serve.tls import TlsFiles, tls_files
from gptsmith.workflows.documents import open_documents


@dataclass(frozen=True)
class Door:
    """A port that listens.

    Attributes:
        keys: the keys that it accepts; None if it needs none.
        tls: its certificate and key; None without HTTPS.
    """

    listening: socket.socket
    keys: ApiKeys | None
    tls: TlsFiles | None


def open_door(request: ServeRequest) -> Door:
    """The port of a request.

    Raises:
        UserError: it is not available, others could use it without a key, or keys or certificate cannot be read.
    """
    keys = requested_keys(request)
    tls = tls_files(request.tls_certificate, request.tls_key)
    return Door(bound_socket(request.host, request.port), keys, tls)


def requested_keys(request: ServeRequest) -> ApiKeys | None:
    """The keys of a request; None if it needs none.

    Raises:
        UserError: they cannot be read, or it needs some.
    """
    if request.api_key_file is not None:
        return read_api_keys(str(request.api_key_file))
    if not is_loopback(request.host):
        raise UserError(
            f"--host {request.host} can be reached from other machines: give --api-key-file FILE, or leave --host out"
        )
    return None


def open_state(request: ServeRequest, keys: ApiKeys | None, replica: int | None = None) -> State:
    """The models of a request, loaded, with all that requests to them share.

    Raises:
        UserError: a model cannot be read.
    """
    device, dtype = request.device, request.dtype
    shows_prompts = request.share_prompts or is_loopback(request.host)
    named, folders = split_folders(request.runs)
    served = load_served(named, device=device, dtype=dtype, with_prompts=shows_prompts)
    draft = None if request.draft is None else load(request.draft, device=device, dtype=dtype)
    found = ModelFolders(folders, device=device, dtype=dtype, with_prompts=shows_prompts) if folders else None
    models = ServedModels(served, request, draft, found, open_documents(request.documents))
    return State(models, request, host=request.host, keys=keys, shares_sources=request.share_sources, replica=replica)


def described(state: State) -> list[str]:
    """How each model computes, and within which bounds, in a line each."""
    lines = []
    for name, served in state.models.loaded.items():
        lines.append(f"{name}: {served.engine.forwards.description}; {served.engine.kv_memory.bound}")
        if served.engine.recital_guard is not None:
            lines.append(f"{name}: {served.engine.recital_guard.description} (--no-recital)")
    return lines
