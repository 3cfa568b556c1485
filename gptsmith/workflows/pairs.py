"""Question-answer pairs from documents, made by a model and checked against the passages, for a person to look at."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gptsmith.base import console
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically
from gptsmith.base.json_text import json_text
from gptsmith.base.verbs import verb
from gptsmith.convert.load import Loaded, load
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.discover import discover, require_apart
from gptsmith.data.settings import DataSettings
from gptsmith.generate.api import generate_batch_with
from gptsmith.generate.engine import Engine
from gptsmith.generate.request import Constraint
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import BATCH
from gptsmith.retrieval.documents import Source
from gptsmith.retrieval.mending import Mending
from gptsmith.retrieval.pair_checks import PairChecks
from gptsmith.retrieval.quotation import quoted_turn, shortened
from gptsmith.retrieval.reading import read_passages
from gptsmith.text.turn_markers import turn_markers
from gptsmith.workflows.requests import PairsRequest

ASKED = "Write one question about a fact in these passages, and its answer in a few of their words."
"""Without an example, which small models copy."""
FORM = r"""start: "Question: " QUESTION "\nAnswer: " ANSWER
QUESTION: /[^\n?\uff1f]{6,120}[?\uff1f]/
ANSWER: %regex """
"""A grammar in Lark's notation, which words in a row of a passage complete."""
PAIR = re.compile(r"Question: (?P<question>.+)\nAnswer: (?P<answer>.+)")
NO_ROOM = "no sentence of the passage fits in the context of the model"
MAX_TOKENS = 120
PASSAGES_AT_ONCE = 16


@verb(PairsRequest, "run", "sources")
def pairs(request: PairsRequest) -> dict[str, Any]:
    """Make question-answer pairs from passages of documents by a model, for fine-tuning. Kept are those whose answer
    is in the passage, and whose question is neither a copy nor nearly another one: look at them before you train.

    Returns:
        out, num_passages, num_pairs, dropped (how many for each reason), skipped (files, with the reasons).

    Raises:
        UserError: the model was not tuned on conversations, there is nothing to read, or the file cannot be written.
    """
    if Path(request.out).exists():
        raise UserError(f"{request.out} exists already: choose another name")
    require_apart(request.out, request.sources)
    loaded = load(request.run, device=request.device, dtype=request.dtype)
    loaded.require_words()
    if loaded.template is None:
        raise UserError(f"{request.run} is a base model, which only continues text: give one tuned on conversations")
    skipped: dict[str, str] = {}
    cleaning = Cleaning.of(DataSettings.parse({"redact": request.redact}, "data").redact, request.without, [])
    passages = list(_passages(request, Mending.of(cleaning), skipped))
    if request.limit is not None and len(passages) > request.limit:
        chosen = sorted(random.Random(request.seed).sample(range(len(passages)), request.limit))
        passages = [passages[number] for number in chosen]
    rows, dropped, checks = [], Counter[str](), PairChecks()
    with console.meter("making pairs", len(passages)) as bar:
        for start in range(0, len(passages), PASSAGES_AT_ONCE):
            some = passages[start : start + PASSAGES_AT_ONCE]
            for source, text in _written(loaded, some, request.seed):
                found = PAIR.fullmatch((text or "").strip())
                question, answer = (found["question"].strip(), found["answer"].strip()) if found else ("", "")
                problem = NO_ROOM if text is None else checks.problem(question, answer, source.text)
                if problem:
                    dropped[problem] += 1
                else:
                    rows.append(
                        {"question": question, "answer": answer, "source": source.place, "passage": source.text}
                    )
            bar.update(start + len(some), f"{len(rows):,} pairs")
    write_atomically(
        Path(request.out), "".join(json_text(row, ensure_ascii=False) + "\n" for row in rows), private=True
    )
    counts = {"num_passages": len(passages), "num_pairs": len(rows), "dropped": dict(dropped)}
    return {"out": str(request.out), **counts, "skipped": skipped}


def _passages(request: PairsRequest, mending: Mending, skipped: dict[str, str]) -> Iterator[Source]:
    """The passages of all files; those that cannot be read are added to `skipped`."""
    found = discover(request.sources)
    skipped.update(found.skipped)
    for candidate in found.candidates:
        path = candidate.file.path
        try:
            for one in read_passages(candidate, mending=mending):
                yield Source("", path.name, one.headings, one.line, one.text)
        except (UserError, OSError) as error:
            if candidate.named:
                raise
            skipped[str(path)] = str(error).removeprefix(str(path)).lstrip(": ")


def form_of(passage: str) -> Constraint:
    """The form of a pair whose answer is words in a row of a passage."""
    return Constraint("grammar", FORM + json_text({"substring_words": " ".join(passage.split())}, ensure_ascii=False))


def _written(loaded: Loaded, sources: list[Source], seed: int) -> Iterator[tuple[Source, str | None]]:
    """What the model writes about each passage, or as much of it as fits; None if that is not a sentence."""
    template, tokenizer = loaded.template, loaded.tokenizer
    assert template is not None
    engine = Engine(loaded.model, tokenizer, settings=BATCH)
    markers = turn_markers(template, tokenizer)

    def prompt(source: Source, text: str) -> list[int]:
        turn = quoted_turn([Source("", source.file, source.headings, None, text)], ASKED, markers)
        return template.prompt_ids(tokenizer, [{"role": "user", "content": turn}])

    room = engine.context_length - MAX_TOKENS
    asked: list[tuple[Source, list[int], Constraint]] = []
    for source in sources:
        text = shortened(source, lambda text: len(prompt(source, text)) <= room)  # noqa: B023
        if text is None:
            yield source, None
        else:
            asked.append((source, prompt(source, text), form_of(text)))
    completions = generate_batch_with(
        engine, [ids for _, ids, _ in asked], max_tokens=MAX_TOKENS, sampling=SamplingSettings(temperature=0),
        seeds=[seed] * len(asked), constraints=[form for _, _, form in asked],
    )  # fmt: skip
    for (source, _, _), completion in zip(asked, completions, strict=True):
        yield source, completion.text
