"""Models that somebody sends: whatever is in them, reading ends well or with one short line.

`make fuzz CASES=2000` tries more.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gptsmith.base.files import write_json
from gptsmith.convert.adapters import AdapterFolder
from gptsmith.convert.families import family_for
from gptsmith.convert.formats import Source
from gptsmith.convert.formats.gguf import GGUFFormatSettings
from gptsmith.convert.formats.huggingface import HuggingFaceFormatSettings
from gptsmith.convert.formats.peft import PeftFormatSettings
from gptsmith.convert.load import Loaded
from gptsmith.convert.open import open_model
from gptsmith.model.gpt import GPT
from gptsmith.model.linear.lora import LoraLinearSettings
from gptsmith.model.presets import preset
from gptsmith.model.transform import with_adapters
from gptsmith.run.checkpoint import MANIFEST, list_checkpoints, publish_checkpoint
from gptsmith.run.contents import CheckpointContents, optimizer_tensors, weights
from gptsmith.run.folder import Run
from gptsmith.run.train_state import TrainState
from gptsmith.serve.example_prompts import first_prompts
from gptsmith.serve.load import trained_on
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from gptsmith.train.report import report
from gptsmith.train.run_settings import RunSettings
from gptsmith.workflows.runs import runs
from gptsmith.workflows.watch import listing, news
from tests.fuzz.bounds import CASES, one_line_or_well
from tests.fuzz.mutations import mutated

RUN_FILES = ("run.toml", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json",
             "data.json", "plan.json", "result.json", "metrics.jsonl", "paths.json")  # fmt: skip
CHECKPOINT_FILES = ("model.json", "train_state.json", "settings.json", "environment.json", "model.safetensors",
                    "optimizer.safetensors", MANIFEST)  # fmt: skip
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
               "chat_template.jinja")  # fmt: skip
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, a model folder, a GGUF file and an adapter of one tiny model."""
    folder = tmp_path_factory.mktemp("sound")
    tokenizer, template = BytesTokenizerSettings().train(list, 0), ChatTemplate()
    shape = {"num_layers": 1, "embed_dim": 16, "num_heads": 2, "head_dim": 8, "context_length": 32}
    model = GPT(preset("smith", vocab_size=tokenizer.vocab_size, **shape), seed=0).eval()
    settings: dict[str, Any] = {
        "made_by": "pretrain", "request": {"sources": ["text.txt"]}, "model": model.config.plain(),
        "train": {"num_steps": 2, "batch_size": 2, "dtype": "float32", "objective": {"kind": "next_token"}},
    }  # fmt: skip
    run = Run.create(folder / "run", settings, RunSettings)
    tokenizer.save(run.folder)
    template.save(run.folder)
    tables = {
        "generation_config.json": {"temperature": 0.5, "top_k": 5},
        "data.json": {
            "fingerprint": "f", "num_bytes": 9, "files": {"text.txt": {"num_bytes": 9}}, "train": {"num_tokens": 9},
            "skipped": {"b.bin": "no text"}, "example_prompts": ["The old"],
        },
        "plan.json": {
            "predicted": {"num_steps": 2, "seconds": 1.5}, "budget_seconds": 60.0,
            "replanned": [{"step": 1, "num_steps": 2}], "actual": {"seconds": 2.0},
        },
        "result.json": {
            "run": "run", "status": "finished", "step": 2, "validation_loss": 2.5, "num_parameters": 9, "num_tokens": 9,
            "seconds": 3.5,
        },
    }  # fmt: skip
    for name, table in tables.items():
        write_json(run.folder / name, table)
    for step in range(3):
        run.log.append("step", step=step, loss=2.5, num_tokens=step * 9, seconds=step * 0.5)
    run.log.append("sample", step=2, text="The old smith")
    run.log.append("start", environment={"torch": "2"}, num_parameters=9)
    state = TrainState(step=2, validation_loss=2.5, recent_losses=[2.5])
    contents = CheckpointContents(
        model.config, weights(model), settings, {"torch": "2"}, state, optimizer={"a/m": torch.ones(2)}
    )
    publish_checkpoint(run.checkpoints, 2, contents.write)
    (folder / "model").mkdir()
    source = Source("model", model, tokenizer, template, {"temperature": 0.5}, None, "", folder / "model")
    HuggingFaceFormatSettings().write(source, folder / "model")
    (folder / "gguf").mkdir()
    GGUFFormatSettings(precision="q8_0").write(source, folder / "gguf")
    (folder / "adapter").mkdir()
    adapted = with_adapters(model, LoraLinearSettings(rank=2))
    PeftFormatSettings().write(
        Source("a", adapted, tokenizer, None, {}, None, "", folder / "adapter", folder / "model"), folder / "adapter"
    )
    return folder


def open_run(folder: Path) -> None:
    """Everything that a verb reads of a run."""
    runs(folder.parent)
    listing({"run": folder})
    news(folder, 0)
    for read in (_use_model, _use_figures, _use_checkpoints, lambda path: report(path)):
        one_line_or_well(lambda read=read: read(folder))  # type: ignore[misc]


def _use_model(folder: Path) -> None:
    opened = open_model(folder)
    loaded = Loaded(opened, opened.model())
    loaded.sampling({})
    loaded.tokenizer.decode(loaded.tokenizer.encode("The old smith"))
    if loaded.template is not None:
        loaded.template.prompt_ids(loaded.tokenizer, [{"role": "user", "content": "Hello"}])


def _use_figures(folder: Path) -> None:
    opened = open_model(folder)
    first_prompts(opened)
    trained_on(opened)
    _ = opened.dtype, opened.request(), opened.made_by
    for read in (opened.result, opened.data):
        one_line_or_well(read)


def _use_checkpoints(folder: Path) -> None:
    for checkpoint in list_checkpoints(folder / "checkpoints"):
        checkpoint.problem()
        for read in (checkpoint.train_state, checkpoint.settings, checkpoint.environment,
                     lambda one=checkpoint: optimizer_tensors(one)):  # fmt: skip
            one_line_or_well(read)


def open_adapter(folder: Path) -> None:
    """An adapter, applied to its base."""
    adapter = AdapterFolder.open(folder)
    model = open_model(adapter.require_base(None)).model()
    family = family_for(model.config)
    adapter.require_fit(model, family)
    adapter.apply_adapter(model, family)


PLACES = [
    *((f"run/{name}", open_run) for name in RUN_FILES),
    *((f"run/checkpoints/step-000000002/{name}", open_run) for name in CHECKPOINT_FILES),
    *((f"model/{name}", _use_model) for name in MODEL_FILES),
    ("gguf/model.gguf", _use_model),
    *((f"adapter/{name}", open_adapter) for name in ADAPTER_FILES),
]


@pytest.mark.parametrize(
    ("place", "use"), [("run", open_run), ("model", _use_model), ("gguf", _use_model), ("adapter", open_adapter)]
)
def test_the_sound_ones_are_read(sound: Path, place: str, use: Callable[[Path], None]) -> None:
    use(sound / place)
    if place == "run":
        _use_model(sound / place)


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("place", "use"), PLACES, ids=[place for place, _ in PLACES])
def test_a_mutated_file_ends_well_or_with_one_line(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, use: Callable[[Path], None]
) -> None:
    copy = shutil.copytree(sound, tmp_path / "sent")
    monkeypatch.chdir(tmp_path)
    target, file = copy / place.partition("/")[0], copy / place
    for case in range(CASES):
        file.write_bytes(mutated(sound / place, random.Random(f"{place} {case}")))
        if file.parent.name.startswith("step-") and file.name != MANIFEST:
            _vouch(file)
        try:
            one_line_or_well(lambda: use(target))
        except BaseException as error:
            raise AssertionError(f"case {case} of {place}: {type(error).__name__}") from error


def _vouch(file: Path) -> None:
    """Lets the manifest beside a file say that it is whole, as somebody would who forges one."""
    manifest = json.loads((file.parent / MANIFEST).read_text(encoding="utf-8"))
    content = file.read_bytes()
    manifest["files"][file.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (file.parent / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("place", [place for place, _ in PLACES])
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_pipes_and_devices_are_not_waited_for(sound: Path, tmp_path: Path, place: str, kind: str) -> None:
    copy = shutil.copytree(sound, tmp_path / "sent")
    (copy / place).unlink()
    if kind == "fifo":
        os.mkfifo(copy / place)
    else:
        (copy / place).symlink_to("/dev/zero")
    use = dict(PLACES)[place]
    one_line_or_well(lambda: use(copy / place.partition("/")[0]))
