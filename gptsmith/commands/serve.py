"""gptsmith serve"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.serve.request import ServeRequest

LAST_READ_S = 2


@command(
    ServeRequest,
    arguments={"runs": "RUN"},
    panels={
        "Address": ("host", "port", "hosts", "cors"),
        "Access": (
            "api_key_file", "tls_certificate", "tls_key", "share_prompts", "share_sources", "no_recital", "documents",
        ),
        "Limits": (
            "max_num_seqs", "max_queue_size", "kv_cache_memory", "kv_cache_dtype", "keep_loaded_s", "max_choices",
            "max_tokens", "max_body_bytes", "timeout_s", "keep_alive_s", "drain_s",
        ),
        "Machine": ("replicas", "draft", "engine", "device", "dtype"),
    },
    omitted=("max_inputs", "max_stored_bytes", "body_timeout_s", "stall_timeout_s", "ping_s"),
    examples=(
        "gptsmith serve runs/",
        "gptsmith serve mine=runs/mine-sft runs/other --host 0.0.0.0 --api-key-file keys.txt",
    ),
)  # fmt: skip
def serve(request: ServeRequest, json: Json = False) -> None:
    """Serve models on one port: OpenAI's API, Anthropic's, Ollama's, and a chat page."""
    import os
    import signal

    import typer

    from gptsmith.base.console import note, show_json
    from gptsmith.base.interrupts import EXIT_CODE
    from gptsmith.serve.running import make_server

    server = make_server(request)
    if json:
        show_json(server.place)
    server.run()
    code = EXIT_CODE + signal.SIGINT if server.stopped_by == signal.SIGINT else 0
    if not server.has_ended(LAST_READ_S):
        # Python would wait for its threads for ever.
        note("a prompt was still being read: its template does not end")
        os._exit(code)
    raise typer.Exit(code)
