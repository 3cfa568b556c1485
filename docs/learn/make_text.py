"""The texts of the lessons, from what every Python carries: python docs/learn/make_text.py FOLDER

Writes python.txt, Python's language reference (`pydoc_data.topics`), and questions.jsonl, questions with answers about
its built-in methods, made from their docstrings.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from pydoc_data.topics import topics

TYPES = (str, list, dict, set, frozenset, bytes, bytearray, tuple, int, float, complex)
PHRASINGS = ("What does {} do?", "Explain {}.", "Tell me about {}.")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    reference = "\n\n".join(topics[name] for name in sorted(topics))
    (folder / "python.txt").write_text(reference, encoding="utf-8")
    with (folder / "questions.jsonl").open("w", encoding="utf-8") as file:
        for kind in TYPES:
            for name in sorted(vars(kind)):
                text = " ".join((inspect.getdoc(getattr(kind, name)) or "").split("\n\n")[0].split())
                if name.startswith("_") or "->" in text or not 15 < len(text) < 100:
                    continue
                for phrasing in PHRASINGS:
                    question = phrasing.format(f"{kind.__name__}.{name}")
                    file.write(json.dumps({"question": question, "answer": text}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
