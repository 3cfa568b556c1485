"""The text of the run in which a run's weights were pretrained: what it learned from, and what validated it."""

from __future__ import annotations

from gptsmith.base.errors import UserError
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.shards import TokenStream
from gptsmith.data.summary import differences, is_same_data
from gptsmith.run.folder import SETTINGS
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.run_settings import RunSettings


def validation_text(run: OpenedModel, tokenizer: Tokenizer | None = None) -> tuple[TokenStream, bool]:
    """The tokens of that text, by the run's own tokenizer or another, and whether the run itself was pretrained on it
    (and not a base of it).

    Raises:
        UserError: there is no validation text, or it is gone, or has changed since.
    """
    return validation_of(run, *pretraining_data(run, tokenizer))


def validation_of(run: OpenedModel, trained: OpenedModel, data: PreparedData) -> tuple[TokenStream, bool]:
    """The same, of what `pretraining_data` found for a run.

    Raises:
        UserError: there is no validation text.
    """
    if data.validation is None:
        raise UserError(f"{trained.folder} has no validation split")
    return data.validation, trained.folder == run.folder


def require_public(trained: OpenedModel) -> None:
    """Checks that nothing but noisy gradients was to read the text of a run that was pretrained.

    Raises:
        UserError: it was trained privately.
    """
    if pretraining_of(trained)[1].train.private.is_on:
        raise UserError(f"{trained.folder} was trained privately, and its epsilon is for no more than that")


def pretraining_data(run: OpenedModel, tokenizer: Tokenizer | None = None) -> tuple[OpenedModel, PreparedData]:
    """The run that a run's weights were first trained in, and its text, by its own tokenizer or another.

    Raises:
        UserError: the text is not known, or gone, or has changed since.
    """
    trained, settings = pretraining_of(run)
    data = _prepared(trained, settings, trained.tokenizer())
    if not is_same_data(recorded := trained.data(), data.summary):
        changes = differences(recorded, data.summary)
        raise UserError(f"the text of {trained.folder} has changed since it was trained on{changes}")
    return trained, data if tokenizer is None else _prepared(trained, settings, tokenizer)


def _prepared(trained: OpenedModel, settings: RunSettings, tokenizer: Tokenizer) -> PreparedData:
    return prepare(
        trained.paths.all_located(settings.request.sources),
        settings=settings.data,
        tokenizer=tokenizer,
        validation=trained.paths.all_located(settings.request.validation),
        without=trained.paths.all_located(settings.request.without),
        redact_passages=trained.paths.all_located(settings.request.redact_passages),
        seed=settings.train.seed,
    )


def pretraining_of(run: OpenedModel) -> tuple[OpenedModel, RunSettings]:
    """The run that a run's weights were first trained in, and its settings: the run itself, or the base of its base.

    Raises:
        UserError: a base on the way is no longer there, or was trained elsewhere.
    """
    training = run.training()
    if training is None:
        named = run.lineage()[-1].request.get("folder", run.folder)
        raise UserError(f"{named} was trained elsewhere, on text that is not known here")
    if training.base is None:
        return run, RunSettings.parse(training.settings, str(run.folder / SETTINGS))
    return pretraining_of(open_model(run.paths.located(training.base)))
