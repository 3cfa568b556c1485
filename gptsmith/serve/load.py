"""Models to be served: named, described by what people want to know of them before they use them, and loaded."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from gptsmith.base.errors import ConfigurationError, GptsmithError
from gptsmith.base.hints import shell_command
from gptsmith.convert.load import Loaded, load, require_words
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.run.publish import model_name
from gptsmith.serve.example_prompts import first_prompts
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.train.classifier import Classifier, labelling_objective

Stamps = tuple[tuple[str, int, int], ...]
MAX_LINEAGE = 8
"""How many runs are told of, one tuned from the other. A run could name itself as its base."""


@dataclass(frozen=True)
class ModelDescription:
    """What is known of a model before its weights are read.

    Attributes:
        name: the name that people ask for it by.
        path: where it is.
        config: its shape.
        template: its chat template; None if it was not made for conversations.
        kind: whether it was taught to answer, or to label.
        labels: of a classifier; None if the model writes text.
        trained_on: the names of its sources.
        made: when its weights were saved, in seconds since 1970.
        prompts: a few beginnings from its own texts; fewer or none where they cannot be read.
        sampling: how its tokens are sampled by default.
        end_tokens: the tokens that end a text, as log-probabilities spell them.
        stamps: the sizes and times of the files of its weights and tokenizer, which tell whether they have changed.
    """

    name: str
    path: Path
    config: GPTConfig
    template: ChatTemplate | None
    kind: Literal["chat", "base", "classifier"]
    labels: Sequence[str] | None
    trained_on: str
    made: int
    prompts: Sequence[str]
    sampling: Mapping[str, Any]
    end_tokens: Sequence[str]
    stamps: Stamps

    @property
    def file_bytes(self) -> int:
        """The size of those files."""
        return sum(num_bytes for _, num_bytes, _ in self.stamps)


def describe(name: str, opened: OpenedModel, *, with_prompts: bool = False) -> ModelDescription:
    """The description of a model.

    Raises:
        UserError: it cannot be read, or neither generates text nor labels single texts.
    """
    objective = labelling_objective(opened)
    if objective is None:
        require_words(opened.config, opened.folder)
    elif not objective.text_labels:
        raise ConfigurationError(
            f"{opened.folder} labels pairs of texts, or chooses between answers, and only classifiers of single texts "
            f"are served: use it with {shell_command('predict', opened.folder, 'FILE')}"
        )
    tokenizer, template = opened.tokenizer(), opened.template()
    made = datetime.datetime.fromtimestamp(opened.written_at_s, datetime.UTC)
    return ModelDescription(
        name,
        opened.folder,
        opened.config,
        template,
        "classifier" if objective is not None else "base" if template is None else "chat",
        None if objective is None else list(objective.text_labels),
        trained_on(opened),
        int(made.timestamp()),
        first_prompts(opened) if with_prompts and objective is None else [],
        SamplingSettings.parse(opened.generation(), "sampling").plain(),
        [tokenizer.decode([token], keep_special=True) for token in sorted(tokenizer.end_ids)],
        stamps_of(opened.model_files),
    )


def stamps_of(files: Iterable[Path]) -> Stamps:
    """The path, size and time of change of each file that is there."""
    found = []
    for file in files:
        with suppress(OSError):
            status = file.stat()
            found.append((str(file), status.st_size, status.st_mtime_ns))
    return tuple(found)


@dataclass(frozen=True)
class LoadedRun:
    """A model under the name that people ask for it by, with its weights.

    Attributes:
        shared_bytes: how much of its weights another model in memory has too.
        classifier: what labels texts; None if the model writes text.
    """

    about: ModelDescription
    loaded: Loaded
    shared_bytes: int = 0
    classifier: Classifier | None = None

    @property
    def name(self) -> str:
        return self.about.name


def load_run(
    name: str, path: str | Path, *, device: str = "auto", dtype: str = "auto", with_prompts: bool = False
) -> LoadedRun:
    """A model with its weights, under a name.

    Raises:
        UserError: they cannot be read, or it neither generates text nor labels single texts.
    """
    opened = open_model(path)
    about = describe(name, opened, with_prompts=with_prompts)
    loaded = load(opened, device=device, dtype=dtype)
    return LoadedRun(about, loaded, classifier=Classifier.of(loaded))


def load_served(
    runs: Sequence[str | Path], *, device: str = "auto", dtype: str = "auto", with_prompts: bool = False
) -> list[LoadedRun]:
    """The runs of `RUN` or `NAME=RUN`. Weights that two of them have in common are in memory once: adapters come as
    models of their own beside the model that they are for.

    Raises:
        UserError: two have one name, or one cannot be loaded or neither generates text nor labels single texts.
    """
    served: list[LoadedRun] = []
    known: dict[str, torch.Tensor] = {}
    for name, path in named_paths(runs).items():
        run = load_run(name, path, device=device, dtype=dtype, with_prompts=with_prompts)
        served.append(replace(run, shared_bytes=share_weights(run.loaded.model, known)))
    return served


def named_paths(runs: Sequence[str | Path]) -> dict[str, str]:
    """Folders by name: NAME of `NAME=RUN`, or a folder's own.

    Raises:
        ConfigurationError: a name is none, or two have one.
    """
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
