"""Runs to be served: loaded once, named, with what people want to know of them before they use them."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from gptsmith.base.errors import ConfigurationError, GptsmithError
from gptsmith.base.hints import shell_command
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.model.gpt import GPT
from gptsmith.run.publish import model_name
from gptsmith.serve.example_prompts import first_prompts
from gptsmith.train.classifier import Classifier

MAX_LINEAGE = 8
"""How many runs are told of, one tuned from the other. A run could name itself as its base."""


@dataclass(frozen=True)
class LoadedRun:
    """A run under the name that people ask for it by.

    Attributes:
        kind: whether it was taught to answer, or to label.
        trained_on: the names of its sources.
        made: when its weights were saved, in seconds since 1970.
        prompts: a few beginnings from its own texts; fewer or none where they cannot be read.
        shared_bytes: how much of its weights another model in memory has too.
        classifier: what labels texts; None if the model writes text.
    """

    name: str
    loaded: Loaded
    kind: Literal["chat", "base", "classifier"]
    trained_on: str
    made: int
    prompts: list[str] = field(default_factory=list)
    shared_bytes: int = 0
    classifier: Classifier | None = None


def load_served(
    runs: Sequence[str | Path], *, device: str = "auto", dtype: str = "auto", with_prompts: bool = False
) -> list[LoadedRun]:
    """The runs of `RUN` or `NAME=RUN`. Weights that two of them have in common are in memory once: adapters come as
    models of their own beside the model that they are for.

    Raises:
        UserError: two have one name, or one cannot be loaded or neither generates text nor labels single texts.
    """
    folders = _named(runs)
    served: list[LoadedRun] = []
    known: dict[str, torch.Tensor] = {}
    for name, path in folders.items():
        loaded = load(path, device=device, dtype=dtype)
        classifier = Classifier.of(loaded)
        if classifier is None:
            loaded.require_words()
        elif not classifier.text_labels:
            raise ConfigurationError(
                f"{path} labels pairs of texts, or chooses between answers, and only classifiers of single texts are "
                f"served: use it with {shell_command('predict', path, 'FILE')}"
            )
        made = datetime.datetime.fromtimestamp(loaded.run.written_at_s, datetime.UTC)
        served.append(
            LoadedRun(
                name,
                loaded,
                "classifier" if classifier else "chat" if loaded.template is not None else "base",
                trained_on(loaded.run),
                int(made.timestamp()),
                first_prompts(loaded.run) if with_prompts and classifier is None else [],
                share_weights(loaded.model, known),
                classifier,
            )
        )
    return served


def _named(runs: Sequence[str | Path]) -> dict[str, str]:
    """Folders by name: NAME of `NAME=RUN`, or a folder's own."""
    found: dict[str, str] = {}
    for given in map(str, runs):
        name, equals, path = given.partition("=")
        # A folder may have an equals sign in its name.
        if not equals or Path(given).exists():
            name, path = model_name(given), given
        if not name or not path:
            raise ConfigurationError(f"{given}: write it as NAME=RUN, for example small=runs/small")
        if not name.isprintable() or len(name) > 200:
            raise ConfigurationError(f"{name!r} is no name for a model: use up to 200 letters, digits and signs")
        if name in found:
            raise ConfigurationError(
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


def trained_on(run: OpenedModel, depth: int = MAX_LINEAGE) -> str:
    """The names of what a run learnt from: `my_texts, tuned on talk.jsonl`, or `imported (llama)`."""
    training = run.training()
    if training is None:
        imported = run.lineage()[-1]
        adapted = f", over {Path(imported.base).name}" if imported.base else ""
        return f"imported ({imported.request.get('model_type')}){adapted}"
    names = ", ".join(Path(source).name for source in training.sources)
    if training.base is None or not depth:
        return names
    try:
        return f"{trained_on(open_model(run.paths.located(training.base)), depth - 1)}, tuned on {names}"
    except GptsmithError:  # the base is not there any more
        return f"tuned on {names}"


def iso_time(seconds: int) -> str:
    """Seconds since 1970 as 2026-01-31T12:00:00Z."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
