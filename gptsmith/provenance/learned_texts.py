"""Every text that the weights of a model learnt from, back to the pretraining of its base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gptsmith.base.errors import MissingExtraError, UserError, one_line
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.data.prepare import KeptData, kept_data, prepare
from gptsmith.data.settings import DataSettings
from gptsmith.data.summary import differences, is_same_data
from gptsmith.provenance.example_text import ExampleText
from gptsmith.provenance.learned_text import LearnedText
from gptsmith.provenance.plain_text import PlainText
from gptsmith.run.lineage import Origin

T = TypeVar("T")


@dataclass(frozen=True)
class LearnedTexts:
    """The texts that a model learnt from, as far as they are here.

    Attributes:
        texts: those that are here, the latest first.
        missing: why each of the others is not, for a person.
    """

    texts: list[LearnedText]
    missing: list[str]


def learned_texts(run: OpenedModel) -> LearnedTexts:
    """The texts of a run and of the bases that it began with, indexed now if they are not yet.

    Raises:
        MissingExtraError: the library that sorts is not installed.
    """
    return LearnedTexts(*of_each_training(run, _text_of))


def of_each_training(run: OpenedModel, read: Callable[[OpenedModel, Origin], T]) -> tuple[list[T], list[str]]:
    """The results of a function for each run in which the weights of a model were trained, by that run and how it was
    made, the latest first; and why it gives nothing for the others, for a person.

    Raises:
        MissingExtraError: the function does.
    """
    found: list[T] = []
    missing: list[str] = []
    while (training := run.training()) is not None:
        try:
            found.append(read(run, training))
        except MissingExtraError:
            raise
        except UserError as error:
            missing.append(f"the text of {run.folder} is not here: {one_line(error)}")
        if training.base is None:
            return found, missing
        try:
            run = open_model(run.paths.located(training.base), by_hash=False)
        except UserError as error:
            return found, [*missing, f"the base of {run.folder} is not here: {one_line(error)}"]
    named = run.lineage()[-1].request.get("folder", run.folder)
    return found, [*missing, f"{named} was trained elsewhere: the text that it learnt from is not here"]


def _text_of(run: OpenedModel, training: Origin) -> LearnedText:
    """The text that a run was trained on.

    Raises:
        UserError: it is gone or has changed, or there is no room for its index.
    """
    if learnt_from_examples(run):
        return ExampleText.of(run, training)
    fingerprint, data = plain_data(run, training)
    return PlainText.of(run, fingerprint, data)


def learnt_from_examples(run: OpenedModel) -> bool:
    """Whether a run was trained on examples, and not on plain text."""
    recorded = run.data()
    return "corpus_sha256" not in recorded and "num_examples" in recorded.get("train", {})


def plain_data(run: OpenedModel, training: Origin) -> tuple[str, KeptData]:
    """The plain text that a run was trained on, and its fingerprint.

    Raises:
        UserError: it is gone or has changed.
    """
    recorded = run.data()
    kept = kept_data(recorded["fingerprint"])
    if kept is not None:
        return recorded["fingerprint"], kept
    data = prepare(
        run.paths.all_located(training.sources),
        settings=DataSettings.parse(training.settings.get("data", {}), "data"),
        tokenizer=run.tokenizer(),
        validation=run.paths.all_located(training.request.get("validation", [])),
        without=run.paths.all_located(training.request.get("without", [])),
        redact_passages=run.paths.all_located(training.request.get("redact_passages", [])),
        seed=training.settings["train"].get("seed", 1),
    )
    if not is_same_data(recorded, data.summary):
        changes = differences(recorded, data.summary)
        raise UserError(f"it has changed since it was learnt from{changes}, and the cache has lost what it was")
    return data.fingerprint, KeptData(data.train, data.validation, data.corpus)
