"""Adapters in PEFT's form become a run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from gptsmith.base.console import note
from gptsmith.base.errors import ConversionError
from gptsmith.base.files import write_json
from gptsmith.base.hints import shell_command
from gptsmith.convert.adapters import AdapterFolder
from gptsmith.convert.backends.own import OwnBackend
from gptsmith.convert.backends.peft import peft_backend
from gptsmith.convert.bases import model_folder_of
from gptsmith.convert.certificate import Certificate, compare, require_passed
from gptsmith.convert.families import family_for
from gptsmith.convert.formats import Source
from gptsmith.convert.formats.huggingface import HuggingFaceFormatSettings
from gptsmith.convert.huggingface import template_in
from gptsmith.convert.import_settings import ImportRequest, ImportSettings
from gptsmith.convert.load import Loaded
from gptsmith.run.contents import CheckpointContents, load_model, weights
from gptsmith.run.environment import environment
from gptsmith.run.folder import RESULT
from gptsmith.run.publish import published_run, require_place
from gptsmith.run.train_state import TrainState
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import Tokenizer


def import_adapter(adapter: AdapterFolder, base: Loaded, target: Path) -> dict[str, Any]:
    """Makes a run of adapters over their base, whole or not at all, with a certificate that PEFT reads the same.

    Raises:
        ConversionError: the adapters are not of this base or of an unknown kind, or the new folder is in use.
    """
    named = base.run.folder
    if base.config.linear.has_adapters:
        raise ConversionError(f"{named} has adapters already: merge them first ({shell_command('merge', named)})")
    family = family_for(base.config, preferred=base.run.lineage()[-1].request.get("model_type"))
    adapter.require_fit(base.model, family)
    model = adapter.apply_adapter(base.model, family)
    tokenizer, template = _tokenizer(adapter.folder, base), template_in(adapter.folder) or base.template
    num_bytes = sum(parameter.nbytes for parameter in model.parameters())
    require_place(target, num_bytes)
    settings = ImportSettings(
        request=ImportRequest(folder=str(adapter.folder), model_type=family.model_type, base=str(named)),
        model=model.config,
    )
    figures: dict[str, Any] = {
        "run": str(target),
        "status": "imported",
        "made_from": str(adapter.folder),
        "base": str(named),
        "model_type": family.model_type,
        "num_parameters": model.num_parameters,
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
        target, settings, contents, tokenizer=tokenizer, template=template, generation=base.run.generation()
    ) as run:
        checkpoint = run.best(note)
        own = OwnBackend(load_model(checkpoint), run.tokenizer(), template, run.files(checkpoint))
        certificate = _certificate(adapter, own, base, family.model_type)
        require_passed(certificate, f"the import of {adapter.folder}")
        certificate.save(run.folder)
        figures |= {**certificate.figures(), "step": 0}
        write_json(run.folder / RESULT, figures)
    return figures


def _tokenizer(folder: Path, base: Loaded) -> Tokenizer:
    """The tokenizer that came with the adapters, which also ends where the base's does; the base's where none came.

    Raises:
        ConversionError: it has more tokens than the base has rows.
    """
    if not (folder / "tokenizer.json").exists():
        return base.tokenizer
    own = load_tokenizer(folder)
    if own.vocab_size > base.config.vocab_size:
        raise ConversionError(
            f"{folder}: the tokenizer has {own.vocab_size:,} tokens and the base {base.config.vocab_size:,} rows: "
            "they do not match"
        )
    ends = dict.fromkeys((*own.end_tokens, base.tokenizer.eos_token, *base.tokenizer.end_tokens))
    kept = [token for token in ends if token != own.eos_token and own.backend.token_to_id(token) is not None]
    return own.ending_with(kept)


def _certificate(adapter: AdapterFolder, own: OwnBackend, base: Loaded, model_type: str) -> Certificate:
    """The run beside what PEFT makes of the adapters, over the folder that the base came from; where there is none,
    over a copy in that form, which is gone afterwards."""
    files = sorted(path for path in adapter.folder.iterdir() if path.is_file())
    with TemporaryDirectory() as temporary:
        folder = model_folder_of(base.run.folder, base.model)
        if folder is None:
            folder = Path(temporary)
            copy = Source("base", base.model, base.tokenizer, None, {}, model_type, "")
            HuggingFaceFormatSettings().write(copy, folder)
        other = peft_backend(adapter.folder, folder)
        title = f"Import of {adapter.folder.resolve().name}"
        return compare(title, ("the run", str(adapter.folder)), own, other, precision="float32", files=files)
