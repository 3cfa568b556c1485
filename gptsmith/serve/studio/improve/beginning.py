"""The one press: from the marks of now to an improvement that is being trained."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.files import write_atomically, writing
from gptsmith.base.json_text import json_text
from gptsmith.base.leftovers import remove
from gptsmith.serve.errors import ApiError
from gptsmith.serve.load import ModelDescription
from gptsmith.serve.studio.improve.held_back import Messages, digest, num_prompts, split
from gptsmith.serve.studio.improve.improvements import Improvements
from gptsmith.serve.studio.improve.pairs import Source
from gptsmith.serve.studio.improve.recipe import Available, Recipe, available, recipe
from gptsmith.serve.studio.marks.examples import CONTINUATION, examples
from gptsmith.serve.studio.marks.marks import Marks
from gptsmith.serve.studio.place import Place
from gptsmith.train.resume import numbered

FOLDER, EXAMPLES = "improve", "examples.jsonl"
PLAN_PREFIX = "plan-"
"""Of the folders of examples that are only planned with."""
ENOUGH_PROMPTS = 10
"""Where fewer are held back, the model's own examples are judged on, too."""
IMPROVED = re.compile(r"-improved(-\d+)?$")


def planned(about: ModelDescription, found: Available) -> Recipe | None:
    """How a model would be improved by its marks, if all had prompts of their own; None if they are too few."""
    objective = found.objective()
    if objective is None:
        return None
    count = found.count(objective)
    return recipe(objective, count, count, about.config)


@dataclass(frozen=True)
class Prepared:
    """What an improvement would be made of.

    Attributes:
        learnt: the marks that are learnt from.
        held: the prompts that are held back.
    """

    recipe: Recipe
    records: list[dict[str, Any]]
    learnt: list[dict[str, Any]]
    held: list[Messages]

    @property
    def text(self) -> str:
        """The records as the file that training reads."""
        return "".join(json_text(record, ensure_ascii=False) + "\n" for record in self.records)

    def write(self, path: Path) -> None:
        """Writes that file, for its owner alone.

        Raises:
            UserError: the disk is full.
        """
        with writing(path.parent):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, self.text, private=True)


def prepared(marks: Marks, about: ModelDescription) -> Prepared:
    """What a model would be improved by, from the marks of now.

    Raises:
        ApiError: there are too few marks.
    """
    objective = available(marks.counts(), about.name).objective()
    if objective is None:
        raise ApiError(400, f"{about.name} has too few marks to learn from: mark more answers", code="too_few_marks")
    read = [mark for mark in marks.list(about.name)[::-1] if mark["kind"] != CONTINUATION]
    learnt, held = split(read)
    records = list(examples(learnt, objective, with_thumbs=True))
    if not records:
        raise ApiError(400, f"nothing can be learnt from the marks of {about.name}", code="too_few_marks")
    return Prepared(recipe(objective, len(records), num_prompts(learnt), about.config), records, learnt, held)


def training_words(about: ModelDescription, path: Path, made: Recipe, device: str) -> list[str]:
    """The words behind `finetune` that train by a recipe on the examples of a file, but for where the run goes."""
    return [str(about.path), str(path), *made.arguments(), "--device", device, "--json"]


def begin(place: Place, marks: Marks, improvements: Improvements, about: ModelDescription, device: str) -> str:
    """Writes what is learnt, and queues the training; the id of the improvement.

    Raises:
        ApiError: there are too few marks, or the model is being improved already.
        UserError: the disk is full.
    """
    found = prepared(marks, about)
    name = secrets.token_hex(8)
    path = examples_path(place, name)
    found.write(path)
    run = free_name(place, improvements, about.name)
    arguments = [*training_words(about, path, found.recipe, device), "--out", str(place.runs / run)]
    try:
        improvements.begin(
            name, about.name, run, found.recipe, arguments, _prompts(found.held, about.prompts, found.learnt)
        )
    except BaseException:
        remove(path.parent)
        raise
    return name


def add_typed(place: Place, improvements: Improvements, name: str, texts: Sequence[str]) -> int:
    """Adds prompts that a person typed; how many of them were learnt from, and therefore not added.

    Raises:
        ApiError: they are too many, or there is no such improvement.
    """
    learnt = {digest(messages) for messages in _learnt_prompts(examples_path(place, name))}
    typed: list[Messages] = [[{"role": "user", "content": text}] for text in texts]
    fresh = [messages for messages in typed if digest(messages) not in learnt]
    improvements.models(name)
    improvements.pairs.add_prompts(name, [("typed", messages) for messages in fresh])
    return len(typed) - len(fresh)


def forget(place: Place, improvements: Improvements, name: str) -> None:
    """Removes an improvement, with what it learnt from; its model stays.

    Raises:
        ApiError: there is none, or it is being trained.
    """
    improvements.remove(name)
    remove(examples_path(place, name).parent)


def sweep(place: Place, improvements: Improvements) -> None:
    """Deletes the examples of improvements that there are not: a studio was killed before it noted one, or after it
    removed one."""
    known = improvements.ids()
    for folder in (place.own / FOLDER).glob("*"):
        if folder.name not in known:
            remove(folder)


def examples_path(place: Place, name: str) -> Path:
    """The file of what an improvement learns from."""
    return place.own / FOLDER / name / EXAMPLES


def _learnt_prompts(path: Path) -> Iterable[Messages]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            yield record["prompt"] if "prompt" in record else record["messages"][:-1]


def _prompts(
    held: Sequence[Messages], own: Sequence[str], learnt: Sequence[dict[str, Any]]
) -> list[tuple[Source, Messages]]:
    """The prompts to judge on: those held back, and where they are few, the model's own examples."""
    found: list[tuple[Source, Messages]] = [("marks", messages) for messages in held]
    if len(found) < ENOUGH_PROMPTS:
        known = {digest(mark["prompt"]) for mark in learnt}
        typed: list[Messages] = [[{"role": "user", "content": text}] for text in own]
        found += [("examples", messages) for messages in typed if digest(messages) not in known]
    return found


def free_name(place: Place, improvements: Improvements, model: str) -> str:
    """The name of the next run that improves a model, or one that was improved already."""
    first = place.runs / f"{IMPROVED.sub('', model.rpartition('/')[2])}-improved"
    return next(path.name for path in numbered(first) if not path.exists() and not improvements.is_known(path.name))
