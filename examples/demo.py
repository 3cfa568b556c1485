"""Trains a GPT in a few minutes on what every Python installation carries: its own documentation.

    python examples/demo.py

Needs no download. The text is Python's language reference (`pydoc_data.topics`) and the docstrings of its standard
library; the run is kept in runs/demo.
"""

from __future__ import annotations

import ast
import shutil
import sys
import sysconfig
from pathlib import Path
from pydoc_data import topics

import gptsmith
from gptsmith.base.console import note, results, show_figures

TEXT = Path("runs/demo-text")
RUN = Path("runs/demo")
MINUTES = 3
PROMPTS = ("Return a new string", "The default value is", "If an exception is raised")
PASSED_OVER = {"site-packages", "test", "tests", "idlelib", "turtledemo", "lib2to3", "pydoc_data", "encodings"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def collect_text() -> None:
    """Writes a file for each topic of the language reference, and one for each module's docstrings, to a folder."""
    shutil.rmtree(TEXT, ignore_errors=True)
    TEXT.mkdir(parents=True)
    for name, text in topics.topics.items():
        (TEXT / f"topic-{name}.txt").write_text(text, encoding="utf-8")
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        module = path.relative_to(library).with_suffix("")
        if PASSED_OVER & set(module.parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, SyntaxError):
            continue
        nodes = (node for node in ast.walk(tree) if isinstance(node, DOCUMENTED))
        docstrings = [text for node in nodes if (text := ast.get_docstring(node))]
        if docstrings:
            (TEXT / f"docstrings-{'.'.join(module.parts)}.txt").write_text("\n\n".join(docstrings), encoding="utf-8")


def main() -> None:
    note("[bold]gptsmith demo[/bold]: a GPT is trained here, now, on Python's own documentation\n")
    collect_text()
    shutil.rmtree(RUN, ignore_errors=True)
    figures = gptsmith.pretrain([TEXT], out=RUN, minutes=MINUTES)
    show_figures("\nwhat came of it", {key: figures[key] for key in FIGURES if key in figures})
    model = gptsmith.load(RUN)
    for prompt in PROMPTS:
        text = model.generate(prompt, max_tokens=60, temperature=0.7)
        results.print(f"\n[bold]{prompt}[/bold]", end="")
        results.print(text, markup=False)
    command = "gptsmith" if sys.platform == "win32" else ".venv/bin/gptsmith"
    results.print(
        "\n[bold]try next[/bold]\n"
        f'  {command} generate {RUN} "import os"\n'
        f"  {command} chat {RUN}\n"
        f"  {command} info {RUN}\n"
        f"  {command} pretrain YOUR_FOLDER"
    )


FIGURES = ("num_parameters", "num_tokens", "validation_loss", "bits_per_byte", "tokens_per_second", "seconds")

if __name__ == "__main__":
    main()
