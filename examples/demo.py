"""Trains a GPT in a few minutes on what every Python installation carries: its own documentation and library.

    python examples/demo.py

Needs no download. The text is Python's language reference (`pydoc_data.topics`) and the docstrings and code of its
standard library; the run is kept in runs/demo.
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
SOURCE_BYTES = 1_500_000
TOKENS = 900_000
PROMPTS = ("The function returns", "def ", "An exception is raised")


def collect_text() -> None:
    """Writes one file a topic of the reference, one a module's docstrings, and some modules' code, to a folder."""
    shutil.rmtree(TEXT, ignore_errors=True)
    TEXT.mkdir(parents=True)
    for name, text in topics.topics.items():
        (TEXT / f"topic-{name}.txt").write_text(text, encoding="utf-8")
    num_source_bytes = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (UnicodeDecodeError, SyntaxError):
            continue
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docstrings = [
            text for node in ast.walk(tree) if isinstance(node, documented) and (text := ast.get_docstring(node))
        ]
        if docstrings:
            (TEXT / f"docstrings-{path.stem}.txt").write_text("\n\n".join(docstrings), encoding="utf-8")
        if num_source_bytes < SOURCE_BYTES:
            num_source_bytes += len(source.encode())
            (TEXT / f"code-{path.name}").write_text(source, encoding="utf-8")


def main() -> None:
    note("[bold]gptsmith demo[/bold]: a GPT is trained here, now, on Python's own documentation and code\n")
    collect_text()
    shutil.rmtree(RUN, ignore_errors=True)
    figures = gptsmith.pretrain(
        [TEXT], out=RUN, tokens=TOKENS, settings=["train.evaluate_every_steps=100", "train.sample_every_steps=100"]
    )
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
