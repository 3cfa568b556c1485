"""Runs to be served: loaded once, named, with what people want to know of them before they use them."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import torch

from gptsmith.base.errors import GptsmithError, UserError
from gptsmith.convert.import_settings import ImportSettings
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.open import open_run
from gptsmith.data.discover import discover
from gptsmith.data.examples import records, shape_of
from gptsmith.data.readers import ReadSettings
from gptsmith.data.shapes import KINDS as SHAPES
from gptsmith.model.gpt import GPT
from gptsmith.pages.figures import evenly
from gptsmith.run.folder import Run
from gptsmith.train.run_settings import FinetuneSettings, RunSettings, settings_of

NUM_PROMPTS = 3
PROMPT_WORDS = 8
PROMPT_CHARACTERS = 200
BEGINNING_CHARACTERS = 60
FEWEST_LETTERS = 8
RECORDS_LOOKED_AT = 1000
FILES_LOOKED_AT = 12
CHARACTERS_LOOKED_AT = 20_000


@dataclass(frozen=True)
class ServedRun:
    """A run under the name that people ask for it by.

    Attributes:
        kind: whether it was taught to answer.
        trained_on: the names of its sources.
        made: when its weights were written, in seconds since 1970.
        prompts: a few beginnings from its own texts; fewer or none where they cannot be read.
        shared_bytes: how much of its weights another model in memory has too.
    """

    name: str
    loaded: Loaded
    kind: Literal["chat", "base"]
    trained_on: str
    made: int
    prompts: list[str] = field(default_factory=list)
    shared_bytes: int = 0


def load_served(runs: Sequence[str], *, device: str = "auto", with_prompts: bool = False) -> list[ServedRun]:
    """The runs of `RUN` or `NAME=RUN`. Weights that two of them have in common are in memory once: adapters come as
    models of their own beside the model that they are for.

    Raises:
        UserError: two have one name, or one cannot be loaded or writes no text.
    """
    folders = _named(runs)
    served: list[ServedRun] = []
    known: dict[str, torch.Tensor] = {}
    for name, path in folders.items():
        loaded = load(path, device=device)
        loaded.require_words()
        made = datetime.datetime.fromtimestamp(loaded.checkpoint.folder.stat().st_mtime, datetime.UTC)
        served.append(
            ServedRun(
                name,
                loaded,
                "chat" if loaded.template is not None else "base",
                trained_on(loaded.run),
                int(made.timestamp()),
                first_prompts(loaded.run) if with_prompts else [],
                share_weights(loaded.model, known),
            )
        )
    return served


def _named(runs: Sequence[str]) -> dict[str, str]:
    """Folders by name: NAME of `NAME=RUN`, or a folder's own."""
    found: dict[str, str] = {}
    for given in runs:
        name, equals, path = given.partition("=")
        # A folder may have an equals sign in its name.
        if not equals or Path(given).is_dir():
            name, path = Path(given).resolve().name, given
        if not name or not path:
            raise UserError(f"{given}: write it as NAME=RUN, for example small=runs/small")
        if not name.isprintable() or len(name) > 200:
            raise UserError(f"{name!r} is no name for a model: use up to 200 letters, digits and signs")
        if name in found:
            raise UserError(
                f"{found[name]} and {path} are both called {name}: give one of them another name, "
                f"such as {name}-2={path}"
            )
        found[name] = path
    return found


@torch.no_grad()
def share_weights(model: GPT, known: dict[str, torch.Tensor]) -> int:
    """Lets parameters that are equal to known ones be the same memory; returns how many bytes that spared. Those that
    are not known yet are added. Nothing may change such weights afterwards."""
    spared = 0
    for parameter in model.parameters():
        values = parameter.detach().to("cpu").contiguous()
        digest = hashlib.sha256(f"{values.dtype} {tuple(values.shape)} {parameter.device}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
        same = known.setdefault(digest.hexdigest(), parameter.data)
        if same is not parameter.data and same.data_ptr() != parameter.data_ptr():
            spared += parameter.numel() * parameter.element_size()
            parameter.data = same
    return spared


def trained_on(run: Run) -> str:
    """The names of what a run learnt from: `my_texts, tuned on talk.jsonl`, or `imported (llama)`."""
    settings = settings_of(run)
    if isinstance(settings, ImportSettings):
        adapted = f", over {Path(settings.request.base).name}" if settings.request.base else ""
        return f"imported ({settings.request.model_type}){adapted}"
    names = ", ".join(Path(source).name for source in settings.request.sources)
    if isinstance(settings, RunSettings):
        return names
    try:
        return f"{trained_on(open_run(settings.request.base))}, tuned on {names}"
    except GptsmithError:  # the base is not there any more
        return f"tuned on {names}"


def first_prompts(run: Run) -> list[str]:
    """Up to three beginnings from a run's own texts, from far apart: questions, or the first words of paragraphs."""
    settings = settings_of(run)
    if isinstance(settings, ImportSettings):
        return []
    sources = settings.request.sources
    try:
        found = _questions(sources) if isinstance(settings, FinetuneSettings) else _beginnings(sources)
    except (GptsmithError, OSError):  # the texts are not there any more
        return []
    return evenly(list(dict.fromkeys(found)), NUM_PROMPTS)


def _questions(sources: Iterable[str]) -> list[str]:
    """What the first conversations of some files begin with."""
    found = []
    for path, record in islice(records(sources), RECORDS_LOOKED_AT):
        shape = shape_of(record.fields)
        if shape not in SHAPES.names():
            continue
        try:
            example = SHAPES.validate(shape).example(record.fields, str(path))
        except (UserError, KeyError, TypeError, AttributeError, StopIteration):
            continue
        request = [message["content"] for message in getattr(example, "messages", ()) if message["role"] == "user"]
        if request and 0 < len(request[0]) <= PROMPT_CHARACTERS:
            found.append(str(request[0]))
    return found


def _beginnings(sources: Iterable[str]) -> list[str]:
    """How the first paragraphs of some files begin; where there are enough files, one of each."""
    found = []
    for candidate in evenly(discover(sources).candidates, FILES_LOOKED_AT):
        try:
            excerpt = next(iter(candidate.reader.read(candidate.file, ReadSettings())), None)
        except (GptsmithError, OSError):
            continue
        paragraphs = [] if excerpt is None else re.split(r"\n\s*\n", excerpt.text[:CHARACTERS_LOOKED_AT])
        if begun := [words for words in map(_first_words, paragraphs) if words]:
            found.append(begun)
    return [begun[0] for begun in found] if len(found) >= NUM_PROMPTS else [words for begun in found for words in begun]


def _first_words(paragraph: str) -> str:
    """The first words of a paragraph; nothing where they are not mostly letters."""
    words = " ".join(paragraph.split()[:PROMPT_WORDS])[:BEGINNING_CHARACTERS]
    num_letters = sum(character.isalpha() for character in words)
    return words if num_letters >= max(FEWEST_LETTERS, len(words) / 2) else ""


def iso_time(seconds: int) -> str:
    """Seconds since 1970 as 2026-01-31T12:00:00Z."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
