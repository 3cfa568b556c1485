"""gptsmith generate"""

from __future__ import annotations

import sys

from gptsmith.commands.options import SAMPLING, Json, command, show_drawn_seed
from gptsmith.workflows.requests import GenerateRequest


@command(
    GenerateRequest,
    arguments={"run": "RUN", "prompt": "PROMPT"},
    panels={
        "Text": ("prompts", "max_tokens", "stop", "slide", "no_recital"),
        **SAMPLING,
        "Machine": ("engine", "device", "dtype"),
    },
    examples=(
        'gptsmith generate runs/mine "Once upon a time" --temperature 0.7',
        "gptsmith generate runs/mine --prompts prompts.jsonl --seed 1",
    ),
)
def generate(request: GenerateRequest, json: Json = False) -> None:
    """Continue a prompt. Without one, start a new document."""
    from gptsmith.base import console
    from gptsmith.base.terminal import visible
    from gptsmith.workflows.generate import figures_of, generations, prompts_of

    prompt, prompts = request.prompt, request.prompts
    from_input = prompt == "-" or (prompt is None and prompts is None and not sys.stdin.isatty())
    rows = prompts_of(prompts) if prompts is not None else [sys.stdin.read() if from_input else prompt or ""]
    is_first = True
    for row, generation in generations(request, rows):
        if is_first:
            show_drawn_seed(request)
            is_first = False
        quiet = json or prompts is not None
        if not quiet:
            sys.stdout.write(row)
        for piece in generation:
            if not quiet:
                sys.stdout.write(visible(piece))
                sys.stdout.flush()
        if quiet:
            console.show_json(figures_of(generation, row))
            continue
        sys.stdout.write("\n")
        if generation.finish_reason == "context":
            console.note(f"the context of {generation.engine.context_length} tokens is full: --slide continues", "dim")
