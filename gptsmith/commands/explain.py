"""gptsmith explain"""

from __future__ import annotations

import typer

from gptsmith.commands.options import Json, command, show_drawn_seed
from gptsmith.workflows.requests import ExplainRequest

FAILED = 1
"""The exit code if an identity does not hold."""


@command(
    ExplainRequest,
    arguments={"run": "RUN", "prompt": "PROMPT"},
    panels={
        "Question": ("reply", "word", "against", "whole", "system", "max_tokens"),
        "Explanation": ("by", "parts", "methods", "html", "between", "heads", "check"),
        "Sampling": ("temperature", "seed"),
        "Machine": ("engine", "device", "dtype"),
    },
    omitted=("messages", "top_k", "top_p", "min_p", "repetition_penalty"),
    examples=(
        'gptsmith explain runs/mine "The capital of France is" --reply " Paris." --word 1 --against " London"',
        'gptsmith explain runs/mine --between "The old smith" "The young smith"',
    ),
)
def explain(request: ExplainRequest, json: Json = False) -> None:
    """Explain a word of a reply: how sure the model was, and which of your words mattered, with a test."""
    from gptsmith.base import console
    from gptsmith.explain.shown import shown
    from gptsmith.workflows.explain import explain as run_explain

    found = run_explain(request)
    if request.reply is None and found.target is not None and request.between is None:
        show_drawn_seed(request)
    if json:
        console.show_json(found.plain())
    else:
        console.results.print(shown(found))
    if request.html is not None:
        console.note(f"written: {request.html}", "dim")
    if not all(check["holds"] for check in found.checks):
        raise typer.Exit(FAILED)
