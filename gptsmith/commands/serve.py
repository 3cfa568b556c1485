"""gptsmith serve"""

from __future__ import annotations

from gptsmith.commands.options import command
from gptsmith.serve.request import ServeRequest

LAST_READ_S = 2


@command(
    ServeRequest,
    arguments={"runs": "RUN"},
    panels={
        "Address": ("host", "port", "hosts", "cors"),
        "Access": ("api_key_file", "share_prompts"),
        "Limits": (
            "max_num_seqs", "max_queue_size", "max_choices", "max_tokens", "max_body_bytes", "timeout_s",
            "keep_alive_s", "drain_s",
        ),
        "Machine": ("draft", "device"),
    },
    omitted=("max_inputs", "body_timeout_s", "stall_timeout_s", "ping_s"),
    examples=(
        "gptsmith serve runs/mine-sft",
        "gptsmith serve mine=runs/mine-sft runs/other --host 0.0.0.0 --api-key-file keys.txt",
    ),
)  # fmt: skip
def serve(request: ServeRequest) -> None:
    """Serve models: OpenAI's API and a chat page on one port, with continuous batching and speculative decoding."""
    import logging
    import os

    from gptsmith.base import console
    from gptsmith.base.errors import UserError
    from gptsmith.convert.load import load
    from gptsmith.serve.auth import read_api_keys
    from gptsmith.serve.hosts import is_loopback
    from gptsmith.serve.load import load_served
    from gptsmith.serve.served_models import ServedModels
    from gptsmith.serve.server import GracefulServer, bound_socket
    from gptsmith.serve.state import State

    host, device = request.host, request.device
    if request.api_key_file is None and not is_loopback(host):
        raise UserError(
            f"--host {host} can be reached from other machines: give --api-key-file FILE, or leave --host out"
        )
    keys = None if request.api_key_file is None else read_api_keys(str(request.api_key_file))
    with bound_socket(host, request.port) as listening:
        served = load_served(request.runs, device=device, with_prompts=request.share_prompts or is_loopback(host))
        models = ServedModels(served, request, None if request.draft is None else load(request.draft, device=device))
        state = State(models, request, host=host, keys=keys)
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
        address = f"[{host}]" if ":" in host else host
        console.note(f"serving {', '.join(models.by_name)} on http://{address}:{listening.getsockname()[1]}/")
        GracefulServer(state).run([listening])
    if not models.has_ended(LAST_READ_S):
        # Python would wait for its threads for ever.
        console.note("a prompt was still being read: its template does not end")
        os._exit(0)
