"""gptsmith evaluate"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.commands.options import Json, command
from gptsmith.workflows.requests import EvaluateRequest


@command(
    EvaluateRequest,
    arguments={"run": "RUN", "texts": "TEXT"},
    panels={
        "Task": ("task", "shots", "limit", "skip_bad", "settings"),
        "Data": ("encoding", "encoding_errors"),
        "Comparison": ("against",),
        "lm-eval": ("lm_eval", "lm_eval_path"),
        "Machine": ("seed", "device", "dtype"),
    },
    examples=(
        "gptsmith evaluate runs/mine other.txt --against runs/small",
        "gptsmith evaluate runs/mine questions.jsonl --task multiple_choice --shots 2",
    ),
)
def evaluate(request: EvaluateRequest, json: Json = False) -> None:
    """Measure a model's perplexity on a text or its score in a task, with confidence intervals."""
    from gptsmith.base import console
    from gptsmith.workflows.evaluate import evaluate as run_evaluate

    figures = run_evaluate(request)
    console.show_json(figures) if json else show(figures)


def show(figures: dict[str, Any]) -> None:
    """Prints the figures as tables: single ones, those of lm-eval's tasks, scores, the confusion matrix, and the
    comparison."""
    from gptsmith.base import console

    single = {
        name: "" if value is None else value for name, value in figures.items() if not isinstance(value, dict | list)
    }
    console.show_figures("", single)
    for name, value in figures.get("results", {}).items():
        console.show_figures(f"\n{name}", value)
    if "scores" in figures:
        show_scores(["value", "interval", "baseline", "num_examples"], figures["scores"])
    if "confusion_matrix" in figures:
        labels = figures["labels"]
        rows = zip(labels, figures["confusion_matrix"], strict=True)
        show_table("true \\ answered", labels, {label: dict(zip(labels, row, strict=True)) for label, row in rows})
    if "contamination" in figures:
        console.results.print(contamination_line(figures["contamination"]), markup=False, soft_wrap=True)
    if "comparison" in figures:
        columns = ["value", "against", "difference", "difference_interval", "p_value"]
        console.results.print(f"\nagainst {figures['against']['run']}", markup=False, soft_wrap=True)
        show_scores(columns, figures["comparison"])


def contamination_line(found: Mapping[str, Any]) -> str:
    """Whether a model learnt from what it is evaluated on, in a sentence."""
    from gptsmith.base import console

    missing = "; ".join(found["missing"])
    if found["num_contaminated"] is None:
        return console.harmless(f"whether it learnt from this is not known: {missing}")
    line = (
        f"of {found['num_units']:,} {found['unit']}s, {found['num_contaminated']:,} have {found['num_words']} words in "
        "a row that it learnt from"
    )
    if found["num_contaminated"] and found["without_them"]:
        scores = (f"{console.label_of(name)} {shown(value)}" for name, value in found["without_them"].items())
        line += f"; without them: {', '.join(scores)}"
    return console.harmless(f"{line} ({missing})" if missing else line)


def show_scores(columns: list[str], rows: dict[str, dict[str, Any]]) -> None:
    """Prints the figures of each score."""
    from gptsmith.base.console import label_of

    show_table("score", columns, rows, {name: label_of(name) for name in (*columns, *rows)})


def show_table(
    title: str, columns: list[str], rows: dict[str, dict[str, Any]], labels: Mapping[str, str] | None = None
) -> None:
    """Prints a table with a row for each name. Names are shown by `labels`, or else as they are."""
    labels = labels or {}
    from rich.table import Table
    from rich.text import Text

    from gptsmith.base import console

    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in (title, *columns):
        table.add_column(Text(labels.get(head, head)))
    for name, row in rows.items():
        table.add_row(Text(labels.get(name, name)), *(shown(row[column]) for column in columns))
    console.results.print()
    console.results.print(table)


def shown(value: Any) -> str:
    """A value for a person; an interval as its two ends."""
    from gptsmith.base.console import readable

    if isinstance(value, list):
        return " to ".join(map(readable, value))
    return "" if value is None else readable(value)
