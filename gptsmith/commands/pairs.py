"""gptsmith pairs"""

from __future__ import annotations

from gptsmith.commands.options import Json, command
from gptsmith.workflows.requests import PairsRequest


@command(
    PairsRequest,
    arguments={"run": "MODEL", "sources": "DOCUMENTS..."},
    panels={"Result": ("out",), "Passages": ("limit", "seed", "without", "redact"), "Machine": ("device", "dtype")},
    metavars={"out": "FILE"},
    examples=(
        "gptsmith pairs models/SmolLM2-135M-Instruct notes/ --out made_pairs.jsonl",
        "gptsmith pairs runs/mine-sft notes/ --limit 100 --out made_pairs.jsonl",
    ),
)
def pairs(request: PairsRequest, json: Json = False) -> None:
    """Make question-answer pairs from documents, to fine-tune on."""
    from gptsmith.base import console
    from gptsmith.data.skipped_files import skipped_in_words
    from gptsmith.workflows.pairs import pairs as make_pairs

    figures = make_pairs(request)
    if json:
        console.show_json(figures)
        return
    for line in skipped_in_words({"skipped": figures["skipped"]}, "--json"):
        console.note(line, "dim")
    shown = {name: figures[name] for name in ("num_passages", "num_pairs", "dropped", "out")}
    console.show_figures("pairs", shown)
    if figures["num_pairs"]:
        console.note(f"read {figures['out']}, and delete the lines that are wrong, before you train on it")
    else:
        console.note("no pair stood the checks: give more documents, or a larger model", "yellow")
