"""Another program's model becomes a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gptsmith.base.console import note
from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.base.files import write_json
from gptsmith.convert.adapters import ADAPTER_CONFIG, is_adapter_folder
from gptsmith.convert.backends import Reader
from gptsmith.convert.backends.own import OwnReader
from gptsmith.convert.certificate import Certificate, compare, require_passed
from gptsmith.convert.huggingface import ModelFolder
from gptsmith.convert.import_adapter import import_adapter
from gptsmith.convert.import_settings import ImportRequest, ImportSettings
from gptsmith.data.cache import default_cache, key_of, private_folder
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.run.contents import CheckpointContents, load_model
from gptsmith.run.environment import environment
from gptsmith.run.folder import GENERATION, RESULT, Run, require_free
from gptsmith.run.publish import published_run, require_place
from gptsmith.run.train_state import TrainState

IMPORTS = "imports"


def import_model(
    source: str | Path,
    *,
    out: str | Path | None = None,
    base: str | Path | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Makes a run of a Hugging Face model folder or of adapters in PEFT's form, whole or not at all, with a certificate
    that it is the same model.

    Args:
        source: the folder; or the name of a model on the Hub, such as `openai-community/gpt2`, which is fetched.
        out: the folder of the new run; `runs/` with the source's name where it is not given.
        base: the run or model folder that adapters are laid over; the one that they name where it is not given.
        revision: which version on the Hub.

    Returns:
        run, status (`imported`), made_from, base (of adapters), model_type, num_parameters, weight_bytes, certificate
        (`passed`, or `not run` where Transformers, or PEFT for adapters, is not installed) and the figures of its
        logits, step, seconds.

    Raises:
        UserError: the family is not known, something in the folder is not sound, the copy would not be the same
            model, or the new folder is in use.
    """
    started = time.monotonic()
    folder = Path(source)
    if not folder.is_dir():
        folder = _fetched(str(source), revision)
    elif revision is not None:
        raise UserError(f"--revision is of a model on the Hub, and {source} is a folder")
    target = Path(out) if out is not None else Path("runs") / folder.resolve().name
    require_free(target)
    if is_adapter_folder(folder):
        return import_adapter(folder, target, base, started)
    if base is not None:
        raise UserError(f"--base is for adapters, and {source} holds none (no {ADAPTER_CONFIG})")
    return _imported(ModelFolder.open(folder), target, started)


def cached_import(folder: Path) -> Run:
    """The run of a model folder, made where there is none of this content yet, in the cache.

    Raises:
        UserError: it cannot be imported.
    """
    found = ModelFolder.open(folder)
    target = private_folder(default_cache() / IMPORTS) / key_of(found.fingerprint, str(folder.resolve()))
    if not (target / RESULT).exists():
        note(f"[dim]{folder} is imported once, into the cache[/dim]")
        _imported(found, target, time.monotonic(), overwrite=True)
    return Run.open(target)


def _fetched(name: str, revision: str | None) -> Path:
    """The files of a model on the Hub, in the cache.

    Raises:
        UserError: there is no such folder or model, or no network.
        MissingExtraError: the library that fetches is not installed.
    """
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"{name}: there is no such folder (a model on the Hub is named such as openai-community/gpt2)")
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError:
        raise MissingExtraError(f"{name} is no folder here, and fetching it from the Hub", "hub") from None
    target = private_folder(default_cache() / "hub") / name.replace("/", "--")
    patterns = ["*.json", "*.safetensors", "*.jinja", "merges.txt"]
    note(f"fetching {name} from the Hub")
    try:
        # Asked first, because fetching tries again and again where there is no network.
        revision = HfApi().model_info(name, revision=revision, timeout=30).sha
        snapshot_download(name, revision=revision, local_dir=target, allow_patterns=patterns)
    except Exception as error:  # the library's own errors and those of the network below it
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{name} is no folder here, and the Hub did not give it ({type(error).__name__}: {reason}): check the name "
            "and the network, or bring the folder here yourself"
        ) from None
    return target


def _imported(found: ModelFolder, target: Path, started: float, *, overwrite: bool = False) -> dict[str, Any]:
    weights = dict(found.weights())
    num_bytes = sum(tensor.nbytes for tensor in weights.values())
    if not overwrite:
        require_place(target, num_bytes)
    settings = ImportSettings(
        request=ImportRequest(folder=str(found.folder), model_type=found.family.model_type), model=found.shape
    )
    figures: dict[str, Any] = {
        "run": str(target),
        "status": "imported",
        "made_from": str(found.folder),
        "model_type": found.family.model_type,
        "num_parameters": sum(tensor.numel() for tensor in weights.values()),
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
        target, settings, contents, overwrite=overwrite, tokenizer=found.tokenizer, template=found.template,
        generation=_sampling(found.generation),
    ) as run:  # fmt: skip
        weights.clear()
        checkpoint = run.best(note)
        own = OwnReader(load_model(checkpoint), run.tokenizer(), found.template, run.files(checkpoint))
        certificate = _certificate(found, own)
        require_passed(certificate, f"the import of {found.folder}")
        certificate.save(run.folder)
        figures |= {**certificate.figures(), "step": 0, "seconds": time.monotonic() - started}
        write_json(run.folder / RESULT, figures)
    return figures


def _sampling(generation: Mapping[str, Any]) -> dict[str, Any]:
    """What of it we know; nothing where the model is not usually drawn from at random."""
    if not generation.get("do_sample"):
        return {}
    kept = {key: generation[key] for key in SamplingSettings.model_fields if generation.get(key) is not None}
    return SamplingSettings.parse(kept, GENERATION).model_dump(include=set(kept))


def _certificate(found: ModelFolder, own: OwnReader) -> Certificate:
    other: Reader | str
    try:
        from gptsmith.convert.backends.hub import TransformersReader

        other = TransformersReader(found.folder)
    except ImportError:
        other = "Transformers is not installed here (pip install transformers)"
    title = f"Import of {found.folder.resolve().name}"
    files = [found.folder / name for name in found.fingerprint]
    return compare(title, ("the run", str(found.folder)), own, other, precision="float32", files=files)
