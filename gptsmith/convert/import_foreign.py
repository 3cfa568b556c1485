"""Another program's model becomes a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gptsmith.base.console import note
from gptsmith.base.files import write_json
from gptsmith.convert.backends.own import OwnBackend
from gptsmith.convert.certificate import Certificate, compare, require_passed
from gptsmith.convert.foreign import ForeignModel
from gptsmith.convert.import_settings import ImportRequest, ImportSettings
from gptsmith.model.gpt import meta_model
from gptsmith.run.contents import CheckpointContents, load_model
from gptsmith.run.environment import environment
from gptsmith.run.folder import RESULT
from gptsmith.run.publish import published_run, require_place
from gptsmith.run.train_state import TrainState


def import_foreign(found: ForeignModel, target: Path) -> dict[str, Any]:
    """Makes a run of another program's model, whole or not at all, with a certificate that it is the same model.

    Raises:
        UserError: a weight is not finite, the copy would not be the same model, or the new folder is in use.
    """
    weights = dict(found.weights())
    num_bytes = sum(tensor.nbytes for tensor in weights.values())
    require_place(target, num_bytes)
    settings = ImportSettings(
        request=ImportRequest(folder=str(found.path), model_type=found.family.model_type), model=found.shape
    )
    figures: dict[str, Any] = {
        "run": str(target),
        "status": "imported",
        "made_from": str(found.path),
        "model_type": found.family.model_type,
        "num_parameters": meta_model(found.shape).num_parameters,
        "weight_bytes": num_bytes,
    }
    contents = CheckpointContents(
        config=found.shape,
        weights=weights,
        settings=settings.plain(),
        environment=environment(torch.device("cpu"), torch.float32, 1),
        train_state=TrainState(),
    )
    with published_run(
        target, settings, contents, tokenizer=found.tokenizer, template=found.template, generation=found.sampling()
    ) as run:
        weights.clear()
        checkpoint = run.best(note)
        own = OwnBackend(load_model(checkpoint), run.tokenizer(), found.template, run.files(checkpoint))
        certificate = _certificate(found, own)
        require_passed(certificate, f"the import of {found.path}")
        certificate.save(run.folder)
        figures |= {**certificate.figures(), "step": 0}
        write_json(run.folder / RESULT, figures)
    return figures


def _certificate(found: ForeignModel, own: OwnBackend) -> Certificate:
    other = found.backend()
    title = f"Import of {found.name}"
    return compare(title, ("the run", str(found.path)), own, other, precision=found.precision, files=found.model_files)
