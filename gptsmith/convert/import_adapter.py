"""Adapters in PEFT's form become a run."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_json
from gptsmith.convert.adapters import AdapterFolder
from gptsmith.convert.backends.own import OwnReader
from gptsmith.convert.backends.peft import peft_reader
from gptsmith.convert.bases import model_folder_of
from gptsmith.convert.certificate import Certificate, compare, require_passed
from gptsmith.convert.families import family_for
from gptsmith.convert.formats import Source
from gptsmith.convert.formats.huggingface import HuggingFaceFormatSettings
from gptsmith.convert.huggingface import refuse_changed_files, template_in
from gptsmith.convert.import_settings import ImportRequest, ImportSettings
from gptsmith.convert.load import Loaded, load
from gptsmith.run.contents import CheckpointContents, load_model, weights
from gptsmith.run.environment import environment
from gptsmith.run.folder import RESULT, require_free
from gptsmith.run.publish import published_run, require_place
from gptsmith.run.train_state import TrainState
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import Tokenizer


def import_adapter(folder: Path, target: Path, base: str | Path | None, started: float) -> dict[str, Any]:
    """Makes a run of adapters over their base, whole or not at all, with a certificate that PEFT reads the same.

    Args:
        base: the run or model folder that they are laid over; the one that they name where it is not given.

    Raises:
        UserError: there is no base, the adapters are not of this base or of a sort that we do not compute, or the new
            folder is in use.
    """
    require_free(target)
    refuse_changed_files(folder)
    found = AdapterFolder.open(folder)
    named = base if base is not None else found.base
    if named is None:
        raise UserError(
            f"{folder} holds adapters, and their base {found.config.get('base_model_name_or_path')} is no folder here: "
            "name it with --base (a run, or a model folder)"
        )
    below = load(named, device="cpu")
    if below.config.linear.kind == "lora":
        raise UserError(f"{named} has adapters already: merge them first (gptsmith merge {named})")
    family = family_for(below.config, preferred=below.run.request().get("model_type"))
    found.require_fit(below.model, family)
    model = found.laid_over(below.model, family)
    tokenizer, template = _tokenizer(folder, below), template_in(folder) or below.template
    num_bytes = sum(parameter.nbytes for parameter in model.parameters())
    require_place(target, num_bytes)
    settings = ImportSettings(
        request=ImportRequest(folder=str(folder), model_type=family.model_type, base=str(named)), model=model.config
    )
    figures: dict[str, Any] = {
        "run": str(target),
        "status": "imported",
        "made_from": str(folder),
        "base": str(named),
        "model_type": family.model_type,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weight_bytes": num_bytes,
    }
    contents = CheckpointContents(
        config=model.config,
        weights=weights(model),
        settings=settings.plain(),
        environment=environment(torch.device("cpu"), torch.float32, 1),
        train_state=TrainState(),
    )
    with published_run(
        target, settings, contents, tokenizer=tokenizer, template=template, generation=below.run.generation()
    ) as run:
        checkpoint = run.best(note)
        own = OwnReader(load_model(checkpoint), run.tokenizer(), template, run.files(checkpoint))
        certificate = _certificate(found, own, named, below, family.model_type)
        require_passed(certificate, f"the import of {folder}")
        certificate.save(run.folder)
        figures |= {**certificate.figures(), "step": 0, "seconds": time.monotonic() - started}
        write_json(run.folder / RESULT, figures)
    return figures


def _tokenizer(folder: Path, below: Loaded) -> Tokenizer:
    """The tokenizer that came with the adapters, which also ends where the base's does; the base's where none came.

    Raises:
        UserError: it has more words than the base has rows.
    """
    if not (folder / "tokenizer.json").exists():
        return below.tokenizer
    own = load_tokenizer(folder)
    if own.vocab_size > below.config.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {own.vocab_size:,} words and the base {below.config.vocab_size:,} rows: "
            "they do not belong together"
        )
    ends = dict.fromkeys((*own.end_tokens, below.tokenizer.eos_token, *below.tokenizer.end_tokens))
    kept = [token for token in ends if token != own.eos_token and own.backend.token_to_id(token) is not None]
    return Tokenizer(own.backend, own.eos_token, own.bos_token, kept)


def _certificate(
    found: AdapterFolder, own: OwnReader, named: str | Path, below: Loaded, model_type: str
) -> Certificate:
    """The run beside what PEFT makes of the adapters, over the folder that the base came from; where there is none,
    over a copy in that form, which is gone afterwards."""
    files = sorted(path for path in found.folder.iterdir() if path.is_file())
    with TemporaryDirectory() as temporary:
        base = model_folder_of(named, below.model)
        if base is None:
            base = Path(temporary)
            copy = Source("base", below.model, below.tokenizer, None, {}, model_type, "")
            HuggingFaceFormatSettings().write(copy, base)
        other = peft_reader(found.folder, base)
        title = f"Import of {found.folder.resolve().name}"
        return compare(title, ("the run", str(found.folder)), own, other, precision="float32", files=files)
