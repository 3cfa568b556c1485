"""Every text that the weights of a model learnt from, back to the pretraining of its base."""

from __future__ import annotations

from dataclasses import dataclass

from gptsmith.base.errors import MissingExtraError, UserError, one_line
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.data.prepare import KeptData, kept_data, prepare
from gptsmith.data.settings import DataSettings
from gptsmith.data.summary import differences, is_same_data
from gptsmith.provenance.example_text import ExampleText
from gptsmith.provenance.learned_text import LearnedText
from gptsmith.provenance.plain_text import PlainText
from gptsmith.run.lineage import Origin


@dataclass(frozen=True)
class LearnedTexts:
    """What is here of the texts that a model learnt from.

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
    found = LearnedTexts([], [])
    _add(run, found)
    return found


def _add(run: OpenedModel, found: LearnedTexts) -> None:
    """Adds what a run was trained on, and then what its base was."""
    training = run.training()
    if training is None:
        named = run.lineage()[-1].request.get("folder", run.folder)
        found.missing.append(f"{named} was trained elsewhere: the text that it learnt from is not here")
        return
    try:
        found.texts.append(_text_of(run, training))
    except MissingExtraError:
        raise
    except UserError as error:
        found.missing.append(f"the text of {run.folder} is not here: {one_line(error)}")
    if training.base is None:
        return
    try:
        base = open_model(run.paths.located(training.base), by_hash=False)
    except UserError as error:
        found.missing.append(f"the base of {run.folder} is not here: {one_line(error)}")
        return
    _add(base, found)


def _text_of(run: OpenedModel, training: Origin) -> LearnedText:
    """What a run was trained on.

    Raises:
        UserError: it is gone or has changed, or there is no room for its index.
    """
    recorded = run.data()
    if "corpus_sha256" not in recorded and "num_examples" in recorded.get("train", {}):
        return ExampleText.of(run, training)
    kept = kept_data(recorded["fingerprint"])
    if kept is not None:
        return PlainText.of(run, recorded["fingerprint"], kept)
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
    return PlainText.of(run, data.fingerprint, KeptData(data.train, data.validation, data.corpus))
