"""Opened models: the dtype of their weights and of their products."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gptsmith.base.errors import UserError
from gptsmith.convert.huggingface import ModelFolder
from gptsmith.convert.load import load
from gptsmith.convert.serving_memory import ServingMemory
from gptsmith.model.config import GPTConfig
from gptsmith.model.transform import initialize_from
from gptsmith.workflows.export import export
from gptsmith.workflows.import_model import import_model
from tests.convert.folders import write_model

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])


def dtypes(model: torch.nn.Module) -> set[torch.dtype]:
    return {parameter.dtype for parameter in model.parameters()}


def folder_of(dtype: torch.dtype, path: Path) -> Path:
    """A llama whose weights are of this dtype; the first of its names decides where they begin in the file."""
    write_model("llama2", path)
    file = path / "model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    return path


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptsmith.convert.serving_memory.SHARE_WIDENED", 0.0)


@pytest.fixture
def bfloat16(tmp_path: Path) -> Path:
    return folder_of(torch.bfloat16, tmp_path / "bfloat16")


@torch.no_grad()
def test_bfloat16_weights_stay_and_compute_as_float32_ones_do(bfloat16: Path) -> None:
    kept, wide = load(bfloat16, device="cpu").model, load(bfloat16, device="cpu", dtype="float32").model
    assert dtypes(kept) == {torch.bfloat16}
    assert dtypes(wide) == {torch.float32}
    assert kept.compute_dtype == wide.compute_dtype == torch.float32
    torch.testing.assert_close(kept(IDS), wide(IDS), rtol=0, atol=1e-6)


def test_where_there_is_much_memory_weights_are_widened_once(bfloat16: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptsmith.convert.serving_memory.SHARE_WIDENED", 0.25)
    monkeypatch.setattr("gptsmith.convert.load.free_bytes", lambda _: 1 << 30)
    assert dtypes(load(bfloat16, device="cpu").model) == {torch.float32}
    needed = ServingMemory.of(load(bfloat16, device="cpu").config, torch.bfloat16).added_bytes(64)
    monkeypatch.setattr("gptsmith.convert.serving_memory.SHARE_WIDENED", 1e-6)
    for little in (needed, None):
        monkeypatch.setattr("gptsmith.convert.load.free_bytes", lambda _, little=little: little)
        assert dtypes(load(bfloat16, device="cpu").model) == {torch.bfloat16}


@torch.no_grad()
def test_products_in_bfloat16_are_within_its_rounding(bfloat16: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = load(bfloat16, device="cpu").model(IDS)
    monkeypatch.setattr("gptsmith.model.device.multiplies_bfloat16", lambda device: True)
    rounded = load(bfloat16, device="cpu", dtype="bfloat16").model
    assert rounded.compute_dtype == torch.bfloat16
    assert 0 < (rounded(IDS).float() - exact).abs().max() < 0.05 * exact.abs().max()
    monkeypatch.setattr("gptsmith.model.device.multiplies_bfloat16", lambda device: False)
    assert load(bfloat16, device="cpu", dtype="bfloat16").model.compute_dtype == torch.float32


def test_float16_becomes_float32_without_rounding(tmp_path: Path) -> None:
    folder = folder_of(torch.float16, tmp_path / "float16")
    model, there = load(folder, device="cpu").model, load_file(folder / "model.safetensors")
    assert dtypes(model) == {torch.float32}
    assert torch.equal(model.final_norm.weight, there["model.norm.weight"].float())
    assert torch.equal(model.embedding.weight, there["model.embed_tokens.weight"].float())


def test_a_dtype_that_there_is_not_is_refused(bfloat16: Path) -> None:
    with pytest.raises(UserError, match="no dtype int4"):
        load(bfloat16, device="cpu", dtype="int4")


def test_weights_are_in_memory_once(bfloat16: Path) -> None:
    """All that are whole tensors of the file lie in the one place where it is mapped, and writing spares the file."""
    opened = ModelFolder.open(bfloat16)
    before = (bfloat16 / "model.safetensors").read_bytes()
    model = opened.model()
    mapped = next(iter(opened.files._mapped.values()))
    start = mapped.ctypes.data
    assert all(start <= parameter.data_ptr() < start + mapped.nbytes for parameter in model.parameters())
    model.embedding.weight.data.zero_()
    assert (bfloat16 / "model.safetensors").read_bytes() == before


def test_bfloat16_comes_back_bit_for_bit(bfloat16: Path, tmp_path: Path) -> None:
    import_model(bfloat16, out=tmp_path / "run")
    assert dtypes(load(tmp_path / "run", device="cpu").model) == {torch.bfloat16}
    export(tmp_path / "run", to="huggingface", out=tmp_path / "again", precision="bfloat16")
    before, after = (load_file(folder / "model.safetensors") for folder in (bfloat16, tmp_path / "again"))
    assert {name: tensor.dtype for name, tensor in after.items()} == dict.fromkeys(before, torch.bfloat16)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_frozen_weights_below_adapters_are_the_bases_own(bfloat16: Path) -> None:
    base = load(bfloat16, device="cpu").model
    lora = GPTConfig.parse({**base.config.plain(), "linear": {"kind": "lora", "rank": 2, "base": "dense"}})
    tuned, places = initialize_from(base, lora, seed=1), {each.data_ptr() for each in base.parameters()}
    for parameter in tuned.parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16)
        assert (parameter.data_ptr() in places) != parameter.requires_grad
    whole = initialize_from(base, base.config, seed=1)
    assert dtypes(whole) == {torch.float32}
    assert not places & {each.data_ptr() for each in whole.parameters()}


def test_a_loaded_model_is_looked_into_and_writes_with_parts_off(tmp_path: Path) -> None:
    write_model("llama2", tmp_path / "llama")
    loaded = load(tmp_path / "llama", device="cpu")
    prompt = "The smith"
    found = loaded.record(prompt, names=["blocks.*.attention.pattern", "blocks.1.attention.heads.2", "logits"])
    num_tokens = len(loaded.tokenizer.prompt_ids(prompt))
    assert found["blocks.0.attention.pattern"].shape == (1, 4, num_tokens, num_tokens)
    assert found["blocks.1.attention.heads.2"].shape == (1, num_tokens, 12)
    expected = loaded.generate(prompt, max_tokens=8, temperature=0)
    with loaded.ablate("blocks.*.attention.heads", "blocks.0.feedforward.output") as ablated:
        halves = ablated.record(prompt, names=["blocks.*.attention.output", "blocks.0.feedforward.output"])
        assert not any(half.any() for half in halves.values())
        assert ablated.generate(prompt, max_tokens=8, temperature=0) != expected
        assert ablated.run is loaded.run
    with loaded.ablate("blocks.1.attention.heads.2", mean_of=prompt) as ablated:
        mean = ablated.record("Another text", names=["blocks.1.attention.heads.2"])["blocks.1.attention.heads.2"]
        torch.testing.assert_close(mean[0, 3], found["blocks.1.attention.heads.2"][0].mean(dim=0))
    biggest = torch.zeros(loaded.config.vocab_size).index_fill(0, torch.tensor([7]), 9.0)
    with loaded.patch({"logits": biggest, "blocks.0.output": lambda tensor: None}) as patched:
        assert patched.batch(["a", "b"], max_tokens=3, temperature=0) == [loaded.tokenizer.decode([7] * 3)] * 2
    assert loaded.generate(prompt, max_tokens=8, temperature=0) == expected
    with pytest.raises(UserError, match="has no mean over tokens"), loaded.ablate("*.pattern", mean_of=prompt):
        pass
    with pytest.raises(UserError, match="give a text"):
        loaded.record([], names=["logits"])
    with pytest.raises(UserError, match="no such tap"), loaded.ablate("blocks.9.attention.heads.0"):
        pass
