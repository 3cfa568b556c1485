"""Runs with adapters go out to PEFT and come in from it, by the verbs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.convert import import_adapter
from gptsmith.convert.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from gptsmith.convert.formats.peft import PeftFormatSettings
from tests.workflows.conftest import SMALL, Outcome


@pytest.fixture(scope="module")
def tuned(trained: dict[str, Any], text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with adapters."""
    out = tmp_path_factory.mktemp("tuned") / "smith"
    settings = ["train.num_steps=4", "model.linear.alpha=32"]
    gptsmith.finetune(trained["run"], [text / "part0.txt"], out=out, lora=4, settings=settings)
    return out


@pytest.fixture(scope="module")
def exported(tuned: Path) -> Path:
    return Path(gptsmith.export(tuned, to="peft")["folder"])


def logits(run: str | Path) -> torch.Tensor:
    loaded = gptsmith.load(run)
    ids = torch.tensor([loaded.tokenizer.encode("The old smith forges a nail")])
    with torch.inference_mode():
        return loaded.model(ids)


def is_empty(folder: Path) -> bool:
    return not folder.exists() or not any(folder.iterdir())


def test_a_run_goes_out_with_its_base_and_a_certificate(
    tuned: Path, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    figures = call("export", tuned, "--to", "peft", "--out", tmp_path / "adapter", "--json").object
    assert figures["certificate"] == "passed"
    assert figures["largest_logit_difference"] < 1e-3
    assert {ADAPTER_CONFIG, ADAPTER_WEIGHTS, "base/model.safetensors", "tokenizer.json"} <= {*figures["files"]}
    config = json.loads((tmp_path / "adapter" / ADAPTER_CONFIG).read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "adapter" / "base")
    certificate = json.loads((tmp_path / "adapter" / "certificate.json").read_text())
    assert certificate["sides"][1]["reader"].startswith("peft ")
    assert "config.json" not in certificate["sides"][1]["files"]


def test_it_comes_back_as_the_same_run(
    tuned: Path, exported: Path, trained: dict[str, Any], tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(exported, moved)
    figures = call("import", moved, "--out", tmp_path / "beside", "--json").object
    assert figures["certificate"] == "passed"
    assert figures["base"] == str(moved / "base"), "it lies beside the adapter, wherever that was moved"
    figures = call("import", moved, "--base", trained["run"], "--out", tmp_path / "over", "--json").object
    assert figures["certificate"] == "passed"
    for run in ("beside", "over"):
        torch.testing.assert_close(logits(tmp_path / run), logits(tuned), atol=1e-5, rtol=0)
        linear = gptsmith.load(tmp_path / run).config.linear
        assert (linear.kind, linear.rank, linear.alpha) == ("lora", 4, 32.0)
    assert (logits(tuned) - logits(trained["run"])).abs().max() > 1e-3, "the adapters change something"


def test_a_base_that_lies_somewhere_is_named_and_not_copied(exported: Path, tmp_path: Path) -> None:
    base = tmp_path / "base-model"
    shutil.copytree(exported / "base", base)
    gptsmith.import_model(exported, base=base, out=tmp_path / "run")
    figures = gptsmith.export(tmp_path / "run", to="peft", out=tmp_path / "again")
    assert figures["certificate"] == "passed"
    assert not (tmp_path / "again" / "base").exists()
    assert json.loads((tmp_path / "again" / ADAPTER_CONFIG).read_text())["base_model_name_or_path"] == str(base)
    shutil.rmtree(base)
    figures = gptsmith.export(tmp_path / "run", to="peft", out=tmp_path / "with-base")
    assert figures["certificate"] == "passed"
    assert (tmp_path / "with-base" / "base").is_dir(), "the base is gone, and the run still has its weights"


def test_a_run_that_came_in_is_worked_with_like_any(exported: Path, tmp_path: Path) -> None:
    gptsmith.import_model(exported, out=tmp_path / "run")
    run = gptsmith.load(tmp_path / "run")
    assert run.run.request()["base"] == str(exported / "base")
    assert run.generate("The old", max_tokens=4, temperature=0)
    gptsmith.merge(tmp_path / "run", out=tmp_path / "merged")
    torch.testing.assert_close(logits(tmp_path / "merged"), logits(tmp_path / "run"), atol=1e-4, rtol=0)


def test_adapters_over_blocks_are_merged_in_floating_point_or_rounded_again(
    trained: dict[str, Any], tuned: Path, text: Path, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    small = gptsmith.compress(trained["run"], to="q4_0", out=tmp_path / "small")
    settings = ["train.num_steps=4", "train.dtype=float32", "model.linear.alpha=64"]
    gptsmith.finetune(small["run"], [text / "part0.txt"], out=tmp_path / "lora", lora=4, settings=settings)
    plain = call("merge", tmp_path / "lora", "--out", tmp_path / "plain", "--json").object
    assert plain["merged_weights"] == "floating point"
    assert plain["kl_divergence"] < 1e-6
    again = call("merge", tmp_path / "lora", "--out", tmp_path / "again", "--same-format", "--json").object
    assert again["merged_weights"] == "q4_0"
    assert again["kl_divergence"] > 100 * plain["kl_divergence"]
    assert again["top1_agreement"] <= 1
    assert again["weight_bytes"] == small["weight_bytes"] < 0.2 * plain["weight_bytes"]
    assert gptsmith.load(again["run"]).config == gptsmith.load(small["run"]).config
    outcome = call("merge", tuned, "--same-format", "--out", tmp_path / "x")
    assert (outcome.code, outcome.out, (tmp_path / "x").exists()) == (2, "", False)
    assert "are in no format to round to" in outcome.err


def test_a_run_without_adapters_has_nothing_to_write(
    trained: dict[str, Any], call: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = call("export", trained["run"], "--to", "peft", "--out", tmp_path / "x")
    assert outcome.code == 2
    assert "has no adapters" in outcome.err
    assert "--to huggingface" in outcome.err
    assert is_empty(tmp_path)


def test_adapters_of_another_base_leave_nothing(
    exported: Path, tuned: Path, text: Path, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    gptsmith.pretrain([text], out=other, settings=[*SMALL, "train.num_steps=1", "train.seed=9"])
    outcome = call("import", exported, "--base", other, "--out", tmp_path / "runs" / "x")
    assert outcome.code == 2
    assert "is an adapter of another base" in outcome.err
    outcome = call("import", exported, "--base", tuned, "--out", tmp_path / "runs" / "x")
    assert outcome.code == 2
    assert "merge them first" in outcome.err
    assert is_empty(tmp_path / "runs")


def test_a_changed_or_homeless_adapter_leaves_nothing(
    exported: Path, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(exported, adapter)
    shutil.rmtree(adapter / "base")
    table = json.loads((adapter / ADAPTER_CONFIG).read_text())
    (adapter / ADAPTER_CONFIG).write_text(json.dumps({**table, "base_model_name_or_path": "someone/gpt2"}))
    outcome = call("import", adapter, "--out", tmp_path / "runs" / "x")
    assert outcome.code == 2
    assert "does not match certificate.json" in outcome.err
    (adapter / "certificate.json").unlink()
    outcome = call("import", adapter, "--out", tmp_path / "runs" / "x")
    assert outcome.code == 2
    assert "'someone/gpt2' is no folder here: name it with --base" in outcome.err
    assert is_empty(tmp_path / "runs")


def test_a_base_is_for_adapters_only(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--base is for adapters"):
        gptsmith.import_model(exported / "base", base=exported / "base", out=tmp_path / "x")
    assert is_empty(tmp_path)


def test_what_peft_would_compute_otherwise_is_not_kept(
    tuned: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A factor that is wrong on our side shows in the certificate, on the way out and on the way in."""
    monkeypatch.setattr(import_adapter.AdapterFolder, "factor", lambda self, name: 1.0)
    with pytest.raises(UserError, match=r"not the same model, so it was not kept: logits"):
        gptsmith.import_model(exported, out=tmp_path / "runs" / "x")
    write = PeftFormatSettings.write

    def with_another_factor(self: PeftFormatSettings, source: Any, folder: Path) -> None:
        write(self, source, folder)
        table = json.loads((folder / ADAPTER_CONFIG).read_text())
        (folder / ADAPTER_CONFIG).write_text(json.dumps({**table, "lora_alpha": 1.0}))

    monkeypatch.setattr(PeftFormatSettings, "write", with_another_factor)
    with pytest.raises(UserError, match=r"not the same model, so it was not kept: logits"):
        gptsmith.export(tuned, to="peft", out=tmp_path / "runs" / "y")
    assert is_empty(tmp_path / "runs")


def test_without_peft_the_certificate_says_so(tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    figures = gptsmith.export(tuned, to="peft", out=tmp_path / "adapter")
    assert figures["certificate"] == "not run"
    assert "pip install peft transformers" in (tmp_path / "adapter" / "certificate.json").read_text()
    figures = gptsmith.import_model(tmp_path / "adapter", out=tmp_path / "run")
    assert figures["certificate"] == "not run"
    torch.testing.assert_close(logits(tmp_path / "run"), logits(tuned), atol=1e-5, rtol=0)


def test_adapters_over_a_model_folder_that_learnt_to_converse_name_it(exported: Path, tmp_path: Path) -> None:
    """The chat template goes with the adapters; the base is where it was."""
    base = tmp_path / "model"
    shutil.copytree(exported / "base", base)
    rows = [{"prompt": f"{number}?", "response": f"{number}."} for number in range(30)]
    (tmp_path / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    gptsmith.finetune(base, [tmp_path / "talk.jsonl"], out=tmp_path / "run", lora=2, settings=["train.num_steps=2"])
    figures = gptsmith.export(tmp_path / "run", to="peft")
    assert figures["certificate"] == "passed"
    checks = json.loads((tmp_path / "run-peft" / "certificate.json").read_text())["checks"]
    assert {check["name"]: check["status"] for check in checks}["conversations"] == "passed"
    assert json.loads((tmp_path / "run-peft" / ADAPTER_CONFIG).read_text())["base_model_name_or_path"] == str(base)
    assert not (tmp_path / "run-peft" / "base").exists()
    gptsmith.import_model(tmp_path / "run-peft", out=tmp_path / "back")
    question = [{"role": "user", "content": "3?"}]
    replies = [
        gptsmith.load(tmp_path / run).reply(question, max_tokens=8, temperature=0)  # type: ignore[list-item]
        for run in ("run", "back")
    ]
    assert replies[0] == replies[1]


def test_adapters_over_rounded_weights_go_out_and_come_in(trained: dict[str, Any], text: Path, tmp_path: Path) -> None:
    """The base is written as the numbers that the rounded weights stand for."""
    gptsmith.compress(trained["run"], to="int8", out=tmp_path / "small")
    gptsmith.finetune(
        tmp_path / "small", [text / "part1.txt"], out=tmp_path / "run", lora=2, settings=["train.num_steps=2"]
    )
    assert gptsmith.export(tmp_path / "run", to="peft")["certificate"] == "passed"
    figures = gptsmith.import_model(tmp_path / "run-peft", base=tmp_path / "small", out=tmp_path / "back")
    assert figures["certificate"] == "passed"
    linear = gptsmith.load(tmp_path / "back").config.linear
    assert linear.base.kind == "int8"  # type: ignore[attr-defined]
    torch.testing.assert_close(logits(tmp_path / "back"), logits(tmp_path / "run"), atol=1e-5, rtol=0)


def test_a_verb_that_is_given_adapters_says_what_to_do(exported: Path, call: Callable[..., Outcome]) -> None:
    outcome = call("generate", exported, "The old")
    assert outcome.code == 2
    assert "gptsmith import" in outcome.err
