"""The text that was held back when a run's weights were first trained."""

from __future__ import annotations

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json
from gptsmith.data.prepare import prepare
from gptsmith.data.tokens import TokenStream
from gptsmith.run.folder import DATA, Run
from gptsmith.workflows.settings import pretraining_of


def validation_text(run: Run) -> tuple[TokenStream, bool]:
    """The tokens of that text, and whether it is the run's own and not that of a base of it.

    Raises:
        UserError: no text was held back, or it is gone, or has changed since.
    """
    trained, settings = pretraining_of(run)
    data = prepare(
        settings.asked.sources,
        settings=settings.data,
        tokenizer=trained.tokenizer(),
        validation=settings.asked.validation,
        seed=settings.train.seed,
    )
    if data.validation is None:
        raise UserError(f"{trained.folder} held no text back for validation")
    if data.fingerprint != read_json(trained.folder / DATA)["fingerprint"]:
        raise UserError(f"the text of {trained.folder} has changed since it was trained on")
    return data.validation, trained.folder == run.folder
