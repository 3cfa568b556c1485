"""Trains a GPT in a few minutes on what every Python installation carries, and teaches it to answer questions about it.

    python examples/demo.py

Needs no download. The text is Python's language reference (`pydoc_data.topics`) and the docstrings of its standard
library; the questions are made from docstrings ("What does str.split do?"), and the model is tested with phrasings that
it has not seen. The runs are kept in runs/demo and runs/demo-chat.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import json
import re
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data import topics

import gptsmith
from gptsmith.base.console import meter, note, results, show_figures, styled
from gptsmith.base.hints import shell_command
from gptsmith.convert.load import Loaded
from gptsmith.evaluate.statistics import wilson_interval

TEXT = Path("runs/demo-text")
RUN, CHAT = Path("runs/demo"), Path("runs/demo-chat")
MINUTES = 3
PROMPTS = ("Return a new string", "The default value is", "If an exception is raised")
SKIPPED = {"site-packages", "test", "tests", "idlelib", "turtledemo", "lib2to3", "pydoc_data", "encodings"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def collect_text() -> None:
    """Write a file for each topic of the language reference, and one for each module's docstrings, to a folder."""
    shutil.rmtree(TEXT, ignore_errors=True)
    TEXT.mkdir(parents=True)
    for name, text in topics.topics.items():
        (TEXT / f"topic-{name}.txt").write_text(text, encoding="utf-8")
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        module = path.relative_to(library).with_suffix("")
        if SKIPPED & set(module.parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, SyntaxError):
            continue
        nodes = (node for node in ast.walk(tree) if isinstance(node, DOCUMENTED))
        docstrings = [text for node in nodes if (text := ast.get_docstring(node))]
        if docstrings:
            (TEXT / f"docstrings-{'.'.join(module.parts)}.txt").write_text("\n\n".join(docstrings), encoding="utf-8")


def documented() -> Iterator[tuple[str, str]]:
    """Names such as str.split, each with the first sentence of its documentation, if that is short."""
    owners = [(kind.__name__, kind) for kind in (str, list, dict, set, bytes, tuple, int, float)]
    owners += [(name, importlib.import_module(name)) for name in MODULES]
    for owner, holder in [("", builtins), *owners]:
        for name, thing in sorted(vars(holder).items()):
            if name.startswith("_") or not callable(thing) or (isinstance(thing, type) and not owner):
                continue
            text = (inspect.getdoc(thing) or "").split("\n\n")
            words = " ".join(next((part for part in text if "->" not in part and ")" not in part[:30]), "").split())
            sentence = re.split(r"(?<=[.])\s", words)[0]
            if 15 < len(sentence) <= LONGEST_ANSWER and sentence.isascii():
                yield (f"{owner}.{name}" if owner else name), sentence


def collect_questions() -> dict[str, Path]:
    """Write the questions as .jsonl files: `train`, `validation` and `test` are other phrasings of the same."""
    facts = dict(documented())
    files = {}
    for split, phrasings in PHRASINGS.items():
        files[split] = TEXT.with_name(f"demo-{split}.jsonl")
        rows = [
            {"question": phrasing.format(name), "answer": answer}
            for name, answer in facts.items()
            for phrasing in phrasings
        ]
        files[split].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return files


def score(model: Loaded, file: Path) -> tuple[int, int]:
    """The number of questions that are answered in the exact words of the documentation, and of all questions."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    with meter("answering", len(rows)) as bar:
        right = 0
        for number, row in enumerate(rows, 1):
            right += answer_to(model, row["question"]) == row["answer"]
            bar.update(number)
    return right, len(rows)


def answer_to(model: Loaded, question: str) -> str:
    return model.reply([{"role": "user", "content": question}], max_tokens=60, temperature=0)


def main() -> None:
    note(styled("[bold]gptsmith demo[/bold]: a GPT is trained here, now, on Python's own documentation\n"))
    collect_text()
    for run in (RUN, CHAT):
        shutil.rmtree(run, ignore_errors=True)
    figures = gptsmith.pretrain([TEXT], out=RUN, minutes=MINUTES)
    show_figures("\nresult", {key: figures[key] for key in FIGURES if key in figures})
    base = gptsmith.load(RUN)
    for prompt in PROMPTS:
        text = base.generate(prompt, max_tokens=60, temperature=0.7)
        results.print(styled("\n[bold]{}[/bold]{}", prompt, text))

    note(styled("\n[bold]now it learns to answer[/bold]: questions made from docstrings\n"))
    files = collect_questions()
    tuned = gptsmith.finetune(
        RUN, [files["train"]], out=CHAT, validation=[files["validation"]], test=[files["test"]], epochs=EPOCHS,
        settings=TUNING,
    )  # fmt: skip
    show_figures("\nresult", {key: tuned[key] for key in TUNED_FIGURES if key in tuned})
    model = gptsmith.load(CHAT)
    right, count = score(model, files["test"])
    low, high = wilson_interval(right, count)
    results.print(
        styled(
            "\n[bold]{} of {}[/bold] questions in phrasings that it has never seen are answered in the words of the "
            "documentation ({} to {})",
            right, count, f"{low:.0%}", f"{high:.0%}",
        )
    )  # fmt: skip
    for question in QUESTIONS:
        results.print(styled("\n[bold]> {}[/bold]\n{}", question, answer_to(model, question)))
    results.print(styled("\n[bold]try next[/bold]"))
    for words in NEXT:
        results.print(f"  {shell_command(*words)}", markup=False, highlight=False, soft_wrap=True)


FIGURES = ("num_parameters", "num_tokens", "validation_loss", "bits_per_byte", "tokens_per_second", "seconds")
TUNED_FIGURES = ("num_tokens", "validation_loss", "test_loss", "general_bits_per_byte_before", "general_bits_per_byte")
TUNED_FIGURES += ("seconds",)
MODULES = ("math", "os.path", "random", "shutil")
PHRASINGS = {
    "train": (
        "What does {} do?",
        "What is {} for?",
        "Explain {}.",
        "Tell me about {}.",
        "When do I use {}?",
        "What is {} in a few words?",
        "Explain {} to me shortly.",
    ),
    "validation": ("Say what {} does.",),
    "test": ("What is the purpose of {}?", "Describe {} in one sentence."),
}
QUESTIONS = ("What does str.split do?", "What is the purpose of math.sqrt?", "Describe shutil.move in one sentence.")
LONGEST_ANSWER = 110
NEXT = (
    ("chat", CHAT),
    ("serve", CHAT),
    ("generate", RUN, "import os"),
    ("info", RUN),
    ("pretrain", "YOUR_FOLDER", "--minutes", 10),
)
EPOCHS = 9
TUNING = ["train.optimizer.learning_rate=2e-3"]

if __name__ == "__main__":
    main()
