"""Documents searched while talking: whether the passage with the answer is found, whether "not in your documents" is
said where there is none, and how many answers of a model are right with passages and without.

    python bench/documents.py search
    python bench/documents.py answers MODEL --questions 60

Questions are made from news stories of ../shared/data, which the model was not tuned on: of every sentence that names
somebody with an office ("GrainCorp chairman Don Taylor") "Who is the chairman of GrainCorp?". Their words are those of
the story, so that they are easier to find than what people ask. Those without an answer are about persons of the other
newspaper's stories who are nowhere in these; many of their words are.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import gptsmith
from gptsmith.evaluate.statistics import paired_proportions, wilson_interval
from gptsmith.generate.conversation import Conversation
from gptsmith.retrieval.documents import Documents

NEWS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "news"
OFFICE = (
    "(?:president|chairman|spokesman|spokeswoman|managing director|director|chief executive officer|chief executive"
    "|general manager|chief economist)"
)
NAME, BODY = "[A-Z][a-z]+ [A-Z][A-Za-z]+", "[A-Z][A-Za-z&-]+(?:(?: of| for| and)?(?: the)? [A-Z][A-Za-z&-]+)*"
PATTERNS = (
    re.compile(rf"(?P<body>{BODY})(?:'s)? (?P<office>{OFFICE}),? (?P<name>{NAME})\b"),
    re.compile(rf"(?P<name>{NAME}),? (?P<office>{OFFICE}) (?:of|at) (?:the )?(?P<body>{BODY})"),
)
OPENINGS = re.compile("^(?:The|But|And|Former|Executive) ")
DEPTHS = (1, 2, 4, 8)


def questions_of(text: str) -> dict[str, str]:
    """Questions with the name that answers each; those with more than one answer are left out."""
    found = defaultdict(set)
    for pattern in PATTERNS:
        for match in pattern.finditer(text):
            body = OPENINGS.sub("", match["body"])
            found[f"Who is the {match['office']} of {body}?"].add(match["name"])
    return {question: names.pop() for question, names in found.items() if len(names) == 1}


def rate(right: list[bool]) -> str:
    """A proportion with its 95 % interval."""
    interval = wilson_interval(sum(right), len(right))
    return f"{sum(right)} of {len(right)} = {sum(right) / len(right):.0%} ({interval.low:.0%} to {interval.high:.0%})"


def search(documents: Documents, known: dict[str, str], unknown: dict[str, str]) -> None:
    started = time.perf_counter()
    found = {question: documents.search(question, DEPTHS[-1]) for question in known}
    milliseconds = 1000 * (time.perf_counter() - started) / len(known)
    for depth in DEPTHS:
        right = [any(name in one.text for one in found[question][:depth]) for question, name in known.items()]
        print(f"the answer is in the first {depth} passages: {rate(right)}")
    print(f"nothing is found, with an answer: {rate([not found[question] for question in known])}")
    print(f"nothing is found, without one: {rate([not documents.search(question) for question in unknown])}")
    print(f"{milliseconds:.1f} ms a question, in {documents.index.counts()[1]:,} passages")


def answers(documents: Documents, known: dict[str, str], model: str, count: int) -> None:
    asked = random.Random(1).sample(sorted(known), min(count, len(known)))
    right: dict[str, list[bool]] = {}
    talk: Conversation = gptsmith.chat(model, temperature=0, max_tokens=32, device="cpu")
    for label, searched in (("without documents", None), ("with documents", documents)):
        talk.documents = searched
        started = time.perf_counter()
        right[label] = []
        for question in asked:
            talk.reset()
            right[label].append(known[question] in talk.say(question))
        print(f"right answers {label}: {rate(right[label])}; {(time.perf_counter() - started) / len(asked):.1f} s each")
    ours, theirs = right["with documents"], right["without documents"]
    print(f"McNemar's test of the two: p = {paired_proportions(ours, theirs):.2g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("search", "answers"))
    parser.add_argument("model", nargs="?")
    parser.add_argument("--questions", type=int, default=60)
    given = parser.parse_args()
    here, other = ((NEWS / name).read_text(encoding="utf-8", errors="replace") for name in ("rural.txt", "science.txt"))
    known = questions_of(here)
    unknown = {question: name for question, name in questions_of(other).items() if name not in here}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rural.txt").write_text(here, encoding="utf-8")
        documents = Documents([folder])
        if given.what == "search":
            search(documents, known, unknown)
        else:
            answers(documents, known, given.model, given.questions)


if __name__ == "__main__":
    main()
