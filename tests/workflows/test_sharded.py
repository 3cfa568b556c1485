"""Models that processes share: made, saved and resumed shard by shard, and opened by one process."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

import gptsmith
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT, meta_model
from gptsmith.model.presets import preset
from gptsmith.run.checkpoint import list_checkpoints, part_files
from gptsmith.run.contents import config_of
from gptsmith.run.distributed import init_process_group
from gptsmith.run.sharding import new_sharded, sharded_from
from gptsmith.run.stored_tensors import StoredTensors, save_tensors
from tests.forked import PROCESSES
from tests.workflows import process_worker
from tests.workflows.conftest import SMALL
from tests.workflows.together import Job, assert_same, cut, same_bits, store_of_torchrun, work

pytestmark = pytest.mark.story

EXACT = [
    *SMALL, "model.embed_dim=32", "train.dtype=float64", "train.num_steps=10", "train.evaluate_every_steps=4",
    "model.dropout=0", "checkpoint.every_steps=1", "checkpoint.keep_every_steps=1",
]  # fmt: skip
SHARDED = "parallel.shard=true"
KINDS = {
    "smith": [],
    "tied": ["model.tie_embeddings=true", "train.dtype=float32"],
    "experts": ["model.feedforward.kind=experts", "model.feedforward.num_experts=3"],
    "gpt2": ["model.init=gpt2", "model.position.kind=learned", "model.num_layers=3", "train.dtype=float32"],
}
WIDE = {"embed_dim": 768, "num_layers": 12, "num_heads": 12, "head_dim": 64, "vocab_size": 512, "context_length": 64}


@pytest.fixture(scope="module")
def folder(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process, of two and of four, each after the first resumed from what others wrote."""
    folder = tmp_path_factory.mktemp("sharded")
    gptsmith.pretrain([text], out=folder / "alone", settings=EXACT)
    new: Job = {"sources": [str(text)]}
    jobs = {
        kind: {
            **new, "out": str(folder / kind), "keeps_first": str(folder / f"{kind}-first"),
            "settings": [*EXACT, *values, "train.num_steps=1", SHARDED],
        }
        for kind, values in KINDS.items()
    }  # fmt: skip
    jobs["two"] = {**new, "out": str(folder / "two"), "settings": [*EXACT, SHARDED]}
    work(made(folder / "by two"), 2, jobs)
    by_groups = [SHARDED, "parallel.shard_size=2"]
    jobs = {
        "four": {"resume": str(cut(folder / "two", folder / "four", 3))},
        "groups": {"resume": str(cut(folder / "two", folder / "groups", 5)), "settings": by_groups},
        "first by groups": {
            **new, "out": str(folder / "of groups"), "keeps_first": str(folder / "groups-first"),
            "settings": [*EXACT, "train.num_steps=1", *by_groups],
        },
    }  # fmt: skip
    work(made(folder / "by four"), 4, jobs)
    gptsmith.pretrain(resume=cut(folder / "four", folder / "one", 6))
    jobs = {
        "same": {"resume": str(cut(folder / "two", folder / "same", 4))},
        "fewer": {"resume": str(cut(folder / "groups", folder / "fewer", 7))},
        "whole": {"resume": str(cut(folder / "four", folder / "whole", 5)), "settings": ["parallel.shard=false"]},
        "back": {"resume": str(cut(folder / "one", folder / "back", 8))},
    }
    work(made(folder / "by two again"), 2, jobs)
    return folder


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_first_weights_are_those_of_one_process_bit_for_bit(folder: Path, kind: str) -> None:
    for first in (folder / f"{kind}-first" / "0", *((folder / "groups-first").iterdir() if kind == "smith" else ())):
        stored = StoredTensors(part_files(first / "model.safetensors"))
        assert len(stored.files) == 2
        checkpoint = list_checkpoints(folder / kind / "checkpoints")[0]
        model = GPT(config_of(checkpoint), seed=checkpoint.settings()["train"]["seed"])
        expected = dict(model.named_parameters())
        assert stored.keys() == expected.keys()
        for name, parameter in expected.items():
            assert torch.equal(stored[name].float(), parameter.detach()), name


@pytest.mark.parametrize("name", ["two", "four", "groups", "one", "same", "fewer", "whole", "back"])
def test_losses_are_those_of_one_unbroken_process_whoever_resumes(folder: Path, name: str) -> None:
    assert_same(folder / name, folder / "alone", 1e-12)


def test_as_many_processes_resume_bit_for_bit(folder: Path) -> None:
    assert same_bits(folder / "same", folder / "two") == 10


def test_each_process_writes_its_own_file_and_the_manifest_names_all(folder: Path) -> None:
    for name, count in (("two", 2), ("four", 4), ("groups", 2), ("one", 1)):
        newest = list_checkpoints(folder / name / "checkpoints")[0]
        manifest = json.loads((newest.folder / "MANIFEST.json").read_text(encoding="utf-8"))
        assert manifest["format_version"] == (2 if count == 1 else 4)
        assert manifest["files"].keys() == {path.name for path in newest.folder.iterdir()} - {"MANIFEST.json"}
        for whole in ("model", "optimizer"):
            parts = [path.name for path in newest.files(f"{whole}.safetensors")]
            every = [f"{whole}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
            assert parts == (every if count > 1 else [f"{whole}.safetensors"])
        if count > 1:
            sizes = [path.stat().st_size for path in newest.files("model.safetensors")]
            assert max(sizes) < 1.2 * sum(sizes) / count
            part = newest.files("model.safetensors")[1]
            held = part.read_bytes()
            part.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
            assert "00002-of" in (newest.problem() or "")
            part.write_bytes(held)
            assert newest.problem() is None


def test_one_process_opens_it_and_merge_makes_an_ordinary_run_of_it(folder: Path, tmp_path: Path) -> None:
    run = folder / "four"
    figures = gptsmith.merge(run, out=tmp_path / "merged")
    assert (figures["status"], figures["num_files"]) == ("merged", 4)
    (merged,) = list_checkpoints(tmp_path / "merged" / "checkpoints")
    assert [path.name for path in merged.files("model.safetensors")] == ["model.safetensors"]
    one, other = gptsmith.load(run), gptsmith.load(tmp_path / "merged")
    assert figures["num_parameters"] == one.model.num_parameters == gptsmith.info(run)["num_parameters"]
    for name, parameter in one.model.named_parameters():
        assert torch.equal(parameter, other.model.get_parameter(name))
    assert one.generate("The", max_tokens=8, temperature=0) == other.generate("The", max_tokens=8, temperature=0)
    lost, bits = (gptsmith.evaluate(each)["validation_loss"] for each in (run, tmp_path / "merged"))
    assert lost == bits == pytest.approx(gptsmith.evaluate(folder / "alone")["validation_loss"], abs=1e-6)
    gptsmith.export(run, to="huggingface", out=tmp_path / "hf")
    assert gptsmith.compress(run, to="int8", out=tmp_path / "int8")["kl_divergence"] < 0.1
    assert gptsmith.load(tmp_path / "hf").generate("The", max_tokens=8, temperature=0) == one.generate(
        "The", max_tokens=8, temperature=0
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_before_all_have_written_leaves_no_checkpoint(
    folder: Path, text: Path, tmp_path: Path, rank: int
) -> None:
    run = cut(folder / "two", tmp_path / "run", 4)
    work(made(tmp_path / "dying"), 2, {"dying": {"resume": str(run), "dies": [rank, 6]}}, dies=rank)
    assert list_checkpoints(run / "checkpoints")[0].step == 5
    assert not any((run / "checkpoints").glob("step-000000006*"))
    gptsmith.pretrain(resume=run)
    assert_same(run, folder / "alone", 1e-12)
    assert all(path.name.startswith("step-") for path in (run / "checkpoints").iterdir())


def test_no_process_holds_the_whole_model_when_it_is_made(tmp_path: Path) -> None:
    save_tensors(tmp_path / "model.safetensors", dict(GPT(preset("smith", **WIDE)).named_parameters()))
    store = store_of_torchrun()
    processes = [
        PROCESSES.Process(target=measure, args=(rank, 2, store.port, str(tmp_path)), daemon=True) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    for rank in range(2):
        whole, made, opened = json.loads((tmp_path / str(rank)).read_text())
        assert whole > 250e6
        assert made < 0.85 * whole, f"process {rank} took {made:,} bytes for a new model of {whole:,}"
        assert opened < 0.85 * whole, f"process {rank} took {opened:,} bytes for one of {whole:,} in a file"


def measure(rank: int, count: int, port: int, folder: str) -> None:
    """Writes the bytes of a model, by how much this process grew at most while it was made in shards, and by how much
    it grew when shards were made of one in a file."""
    os.environ |= process_worker.variables(rank, count, port)
    torch.set_num_threads(1)
    with init_process_group():
        config: GPTConfig = preset("smith", **WIDE)
        new_sharded(small(config), 0, torch.device("cpu"), torch.float32)  # what is imported and made once
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
        model = new_sharded(config, 0, torch.device("cpu"), torch.float32)
        made = memory("VmHWM") - before
        stored, source = StoredTensors([Path(folder, "model.safetensors")]), meta_model(config)
        before = memory("RssAnon")
        for name in list(stored):
            parent, _, own = name.rpartition(".")
            source.get_submodule(parent)._parameters[own] = nn.Parameter(stored[name])
        kept = sharded_from(source, torch.device("cpu"), torch.float32)
        opened = memory("RssAnon") - before
        assert kept.num_parameters == model.num_parameters
        Path(folder, str(rank)).write_text(json.dumps([4 * model.num_parameters, made, opened]))
    os._exit(0)


def small(config: GPTConfig) -> GPTConfig:
    return config.model_copy(update={"num_layers": 1})


def memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
