"""gptsmith evaluate"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gptsmith.commands.options import Device, Json


def evaluate(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="Text to predict; the run's validation set if none. With --task, its examples."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="KIND", help="multiple_choice, classification, generated or arithmetic.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Examples with their answers before each question.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use only so many examples, drawn by the seed.")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="RUN", help="Another run to do the same: do the two differ?")
    ] = None,
    lm_eval: Annotated[str | None, typer.Option(metavar="TASK", help="A task of EleutherAI's lm-eval.")] = None,
    lm_eval_path: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="More tasks for lm-eval, as YAML files.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the task, such as scorer=number."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which examples are drawn; intervals and tests draw by it too.")] = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure how well a model predicts a text or does in a task, with confidence intervals."""
    from gptsmith.base import console
    from gptsmith.workflows.evaluate import evaluate as run_evaluate

    figures = run_evaluate(
        run,
        texts or [],
        task=task,
        shots=shots,
        limit=limit,
        against=against,
        lm_eval=lm_eval,
        lm_eval_path=lm_eval_path,
        settings=settings or [],
        seed=seed,
        device=device,
    )
    console.show_json(figures) if json else show(figures)


def show(figures: dict[str, Any]) -> None:
    """Prints the figures as tables: single ones, those of lm-eval's tasks, scores, who was taken for whom, and the
    comparison."""
    from gptsmith.base import console

    single = {name: shown(value) for name, value in figures.items() if not isinstance(value, dict | list)}
    console.show_figures("", single)
    for name, value in figures.get("results", {}).items():
        console.show_figures(f"\n{name}", value)
    if "scores" in figures:
        show_table("score", ["value", "interval", "baseline", "num_examples"], figures["scores"])
    if "confusion_matrix" in figures:
        labels = figures["labels"]
        rows = zip(labels, figures["confusion_matrix"], strict=True)
        show_table("true \\ answered", labels, {label: dict(zip(labels, row, strict=True)) for label, row in rows})
    if "comparison" in figures:
        columns = ["value", "against", "difference", "difference_interval", "p_value"]
        console.results.print(f"\nagainst {figures['against']['run']}", markup=False, soft_wrap=True)
        show_table("score", columns, figures["comparison"])


def show_table(title: str, columns: list[str], rows: dict[str, dict[str, Any]]) -> None:
    """Prints a table with a row for each name."""
    from rich.table import Table
    from rich.text import Text

    from gptsmith.base import console

    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in (title, *columns):
        table.add_column(Text(head))
    for name, row in rows.items():
        table.add_row(Text(name), *(shown(row[column]) for column in columns))
    console.results.print()
    console.results.print(table)


def shown(value: Any) -> str:
    """A value for a person; an interval as its two ends."""
    from gptsmith.base.console import readable

    if isinstance(value, list):
        return " to ".join(map(readable, value))
    return "" if value is None else readable(value)
