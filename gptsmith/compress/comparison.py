"""Several compressed runs of one source, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically
from gptsmith.base.hints import shell_command
from gptsmith.pages.compression import comparison, rise_in_a_line
from gptsmith.pages.shell import element, page, section
from gptsmith.run.folder import Run
from gptsmith.run.lineage import Origin

PAGE = "comparison.html"
SCRIPTS = ("charts.js", "story.js", "compression.js", "comparison.js")
COLUMNS = {
    "name": "run", "method": "method", "weight_bytes": "weights", "bits_per_weight": "bits per weight",
    "kl_divergence": "KL divergence", "top1_agreement": "top-1 agreement", "bits_per_byte": "bits per byte",
}  # fmt: skip


def compare(runs: Sequence[str | Path], out: str | Path | None) -> dict[str, Any]:
    """What each of several compressed runs of one source costs, smallest first, as their own figures say.

    Args:
        out: the page to write; comparison.html beside the first run if None.

    Returns:
        made_from, compared_on, runs (of each: run, name, method, weight_bytes, bits_per_weight, kl_divergence,
        top1_agreement, bits_per_byte), page.

    Raises:
        UserError: there are fewer than two, or one is not a compressed run, or is one of another source, or was
            compared on another text.
    """
    if len(runs) < 2:
        raise UserError(
            f"one run is nothing to compare: name others ({shell_command('compress', '--compare', 'A', 'B')})"
        )
    opened = [_Compressed(run) for run in runs]
    first = opened[0]
    for other in opened[1:]:
        if other.source != first.source:
            raise UserError(f"{other.place} was made of {other.made_from}, and {first.place} of {first.made_from}")
        if other.compared_on != first.compared_on:
            raise UserError(
                f"{other.place} was compared on {other.compared_on[0]} ({other.compared_on[1]:,} tokens), and "
                f"{first.place} on {first.compared_on[0]} ({first.compared_on[1]:,} tokens): compress one of them again"
            )
    rows = sorted((each.row() for each in opened), key=lambda row: row["weight_bytes"])
    target = Path(out) if out is not None else Path(first.place).resolve().parent / PAGE
    about = f"Made of {first.made_from}, compared with it on its {first.compared_on[0]}."
    content = [
        element("header", element("h1", "Compressed runs"), element("p", about, class_="soft")),
        section("Figures", comparison(rows, COLUMNS), name="figures"),
        section("Cost by size", element("div", id="trials"), name="curve"),
    ]
    points = [{**row, "name": f"{row['name']} ({row['method']})", "is_chosen": True} for row in rows]
    write_atomically(target, page("Compressed runs", content, scripts=SCRIPTS, data={"trials": points}))
    return {"made_from": first.made_from, "compared_on": first.compared_on[0], "runs": rows, "page": str(target)}


class _Compressed:
    """A compressed run's own figures."""

    def __init__(self, run: str | Path) -> None:
        opened = Run.open(run)
        own: Origin = opened.lineage()[0]
        figures = opened.result() or {}
        if own.made_by != "compress" or "kl_divergence" not in figures:
            raise UserError(f"{run} is not a compressed run: it was made by {own.made_by}")
        self.place, self.figures, self.method = str(run), figures, str(own.request.get("method"))
        self.name = opened.folder.resolve().name
        self.made_from = str(figures.get("made_from"))
        self.source = opened.settings().get("source"), figures.get("step"), figures.get("weight_bytes_before")
        self.compared_on = str(figures.get("compared_on")), int(figures.get("num_compared_tokens", 0))

    def row(self) -> dict[str, Any]:
        numbers = {key: self.figures.get(key) for key in ("weight_bytes", "kl_divergence", "top1_agreement")}
        bits = self.figures.get("bits_per_weight", 8 * self.figures["weight_bytes"] / self.figures["num_parameters"])
        rise = rise_in_a_line(self.figures)
        named = {"run": self.place, "name": self.name, "method": self.method}
        return {**named, **numbers, "bits_per_weight": bits, "bits_per_byte": rise}
