"""The verbs, end to end on small real runs."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import gptsmith
from gptsmith.base import console
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.folder import Run
from gptsmith.train.datasets.base import Score
from gptsmith.train.datasets.text import TextDataset
from tests.callbacks import stopped_after
from tests.forked import Forked

from .conftest import SMALL

PRETRAIN_KEYS = {
    "run", "objective", "status", "step", "num_parameters", "num_tokens", "train_loss", "validation_loss",
    "bits_per_byte", "perplexity", "best_step", "tokens_per_second", "seconds", "device", "dtype",
}  # fmt: skip


def losses(run: str | Path) -> list[tuple[int, float]]:
    return [(row["step"], row["train_loss"]) for row in Run.open(run).log.events("step")]


def weights_at(run: str | Path, step: int) -> dict[str, torch.Tensor]:
    (checkpoint,) = [c for c in list_checkpoints(Path(run) / "checkpoints") if c.step == step]
    return load_file(checkpoint.folder / "model.safetensors")


def test_training_learns_and_leaves_a_whole_run(trained: dict[str, Any]) -> None:
    run = Path(trained["run"])
    assert set(trained) == PRETRAIN_KEYS
    assert trained["status"] == "finished"
    evaluations = Run.open(run).log.events("evaluation")
    assert evaluations[-1]["validation_loss"] < evaluations[0]["validation_loss"] - 0.2
    names = {"run.toml", "run.schema.json", "tokenizer.json", "tokenizer_config.json", "data.json", "metrics.jsonl"}
    assert names | {"paths.json", "result.json", "report.html", "checkpoints"} == {
        path.name for path in run.iterdir() if path.name != ".lock"
    }
    assert (run / "run.toml").read_text(encoding="utf-8").startswith("#:schema ./run.schema.json\n")
    assert "properties" in json.loads((run / "run.schema.json").read_text(encoding="utf-8"))


def test_a_moved_run_works_in_every_verb(
    trained: dict[str, Any], call: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = shutil.copytree(trained["run"], tmp_path / "runs" / "moved")
    one = call("generate", moved, "The old", "--seed", 3, "--max-tokens", 10)
    assert one.code == 0
    assert one.out.startswith("The old")
    assert one.out == call("generate", moved, "The old", "--seed", 3, "--max-tokens", 10).out
    info = call("info", moved, "--json").object
    assert info["num_parameters"] == trained["num_parameters"]
    assert info["embed_dim"] == 64
    evaluated = call("evaluate", moved, "--json").object
    assert evaluated["validation_loss"] == pytest.approx(trained["validation_loss"], abs=1e-4)
    assert evaluated["bits_per_byte"] == pytest.approx(trained["bits_per_byte"], abs=1e-4)
    rows = call("runs", "--json").object["runs"]
    assert [(row["run"], row["status"]) for row in rows] == [(str(Path("runs") / "moved"), "finished")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("The old smith\n\n/new\nA young\n/quit\n"))
    chat = call("chat", moved, "--max-tokens", 5, "--json")
    turns = [json.loads(line) for line in chat.out.splitlines()]
    assert [turn["prompt"] for turn in turns] == ["The old smith", "The old smith" + turns[0]["text"], "A young"]
    assert "base model" in chat.err


def test_names_of_runs_are_whole_on_a_terminal_of_80_columns(
    trained: dict[str, Any], call: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.results, "_width", 80)
    names = ["my_texts", "my_texts-classification"]
    for name in names:
        shutil.copytree(trained["run"], tmp_path / "runs" / name)
    lines = call("runs").out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == [str(Path("runs") / name) for name in names]
    assert max(map(len, lines)) <= 80


def test_json_is_one_object_and_all_else_is_on_standard_error(call: Callable, text: Path) -> None:
    small = [argument for setting in [*SMALL, "train.num_steps=3"] for argument in ("--set", setting)]
    done = call("pretrain", text, "--json", *small)
    assert set(done.object) == PRETRAIN_KEYS
    assert done.object["run"] == str(Path("runs") / "smiths")
    assert "training tokens" in done.err
    again = call("pretrain", text, "--json", *small)
    assert again.object["run"] == str(Path("runs") / "smiths-2"), "a run is never written over"
    generated = call("generate", done.object["run"], "A", "--json", "--max-tokens", 4).object
    assert set(generated) == {
        "prompt", "text", "finish_reason", "num_prompt_tokens", "num_tokens", "tokens_per_second", "seconds", "seed",
    }  # fmt: skip


def test_prompts_come_from_a_file_or_a_pipe(
    trained: dict[str, Any], call: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "The"}\n\n{"prompt": "A"}\n', encoding="utf-8")
    rows = call("generate", trained["run"], "--prompts", prompts, "--max-tokens", 3).out.splitlines()
    assert [json.loads(row)["prompt"] for row in rows] == ["The", "A"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("The young"))
    assert call("generate", trained["run"], "--max-tokens", 3).out.startswith("The young")


EXPERTS = ["kind=experts", "num_experts=3", "num_shared_experts=1", "hidden_dim=32", "balance_rate=0.01"]


@pytest.mark.parametrize(
    "changes",
    [["model.dropout=0.2"], [f"model.feedforward.{change}" for change in EXPERTS]],
    ids=["dropout", "experts"],
)
def test_a_resumed_run_is_the_run_that_never_stopped(text: Path, tmp_path: Path, changes: list[str]) -> None:
    settings = [*SMALL, "train.num_steps=30", *changes]
    whole = gptsmith.pretrain([text], out=tmp_path / "whole", settings=settings)
    with stopped_after(13):
        stopped = gptsmith.pretrain([text], out=tmp_path / "halved", settings=settings)
    assert (stopped["status"], stopped["step"]) == ("stopped", 13)
    moved = shutil.move(tmp_path / "halved", tmp_path / "moved")
    resumed = gptsmith.pretrain(resume=moved)
    assert resumed["validation_loss"] == whole["validation_loss"]
    assert losses(moved) == losses(whole["run"])
    one, other = weights_at(moved, 30), weights_at(whole["run"], 30)
    assert all(torch.equal(one[name], other[name]) for name in other)
    biases = [value for name, value in other.items() if name.endswith("choice_bias")]
    assert all(bias.any() for bias in biases)
    says_experts = "The busiest expert of a layer gets up to" in (moved / "report.html").read_text()
    assert bool(biases) == says_experts == ("dropout" not in changes[0])


def test_a_finished_run_goes_on_for_more_tokens_only(text: Path, tmp_path: Path, call: Callable) -> None:
    run = tmp_path / "run"
    gptsmith.pretrain([text], out=run, settings=[*SMALL, "train.num_steps=5"])
    refused = call("pretrain", "--resume", run)
    assert refused.code == 2
    assert "finished after 1,280 tokens" in refused.err
    more = call("pretrain", "--resume", run, "--tokens", 8 * 32 * 8, "--json").object
    assert (more["step"], more["status"]) == (8, "finished")


def test_a_text_that_has_changed_is_not_gone_on_with(tmp_path: Path, text: Path, call: Callable) -> None:
    own = shutil.copytree(text, tmp_path / "own")
    gptsmith.pretrain([own], out=tmp_path / "run", settings=[*SMALL, "train.num_steps=3"])
    (own / "part0.txt").write_text("something else\n" * 500, encoding="utf-8")
    refused = call("pretrain", "--resume", tmp_path / "run", "--tokens", 10_000)
    assert refused.code == 2
    assert "has changed" in refused.err


def test_micro_batches_change_memory_and_not_the_result(text: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "train.num_steps=10", "train.dtype=float64", "model.dropout=0"]
    gptsmith.pretrain([text], out=tmp_path / "one", settings=settings)
    gptsmith.pretrain([text], out=tmp_path / "many", settings=[*settings, "train.micro_batch_size=3"])
    one, many = losses(tmp_path / "one"), losses(tmp_path / "many")
    assert [loss for _, loss in many] == pytest.approx([loss for _, loss in one], abs=1e-9)


def test_training_stops_at_the_loss_that_was_asked_for(text: Path, tmp_path: Path) -> None:
    figures = gptsmith.pretrain([text], out=tmp_path / "run", target_loss=4.0, settings=[*SMALL, "train.num_steps=500"])
    assert figures["status"] == "target_reached"
    assert figures["step"] < 500
    assert figures["validation_loss"] <= 4.0


def test_the_best_weights_are_the_result(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([3.0, 2.0, 5.0, 6.0])
    score = TextDataset.score

    def measure(self: TextDataset, model: Any, **options: Any) -> Score:
        real = score(self, model, **options)
        return replace(real, figures={**real.figures, "validation_loss": next(measured, real.validation_loss)})

    monkeypatch.setattr(TextDataset, "score", measure)
    figures = gptsmith.pretrain([text], out=tmp_path / "run", settings=[*SMALL, "train.num_steps=40"])
    assert (figures["best_step"], figures["step"]) == (20, 40)
    assert gptsmith.load(tmp_path / "run").run.step == 20
    evaluated = gptsmith.evaluate(tmp_path / "run")
    assert evaluated["validation_loss"] == pytest.approx(figures["validation_loss"], abs=1e-4)


def test_ctrl_c_saves_and_says_how_to_go_on(text: Path, tmp_path: Path) -> None:
    settings = [argument for setting in [*SMALL, "train.num_steps=100000"] for argument in ("--set", setting)]
    process = Forked("pretrain", text, "--out", tmp_path / "run", *settings)
    deadline = time.monotonic() + 120
    while not losses_so_far(tmp_path / "run") and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.poll() == 130
    assert "--resume" in err
    assert "Traceback" not in err
    step = Run.open(tmp_path / "run").newest(print).step
    resumed = gptsmith.pretrain(resume=tmp_path / "run", tokens=(step + 5) * 8 * 32)
    assert (resumed["step"], resumed["status"]) == (step + 5, "finished")


def losses_so_far(run: Path) -> list[tuple[int, float]]:
    return losses(run) if (run / "run.toml").exists() else []


def test_a_run_file_repeats_its_run(trained: dict[str, Any], text: Path, tmp_path: Path) -> None:
    again = gptsmith.pretrain([text], out=tmp_path / "again", config=Path(trained["run"]) / "run.toml")
    assert losses(tmp_path / "again") == losses(trained["run"])
    assert again["validation_loss"] == trained["validation_loss"]


def test_presets_train(text: Path, tmp_path: Path) -> None:
    shape = ["model.num_layers=2", "model.embed_dim=32", "model.num_heads=2", "model.context_length=32"]
    rest = ["train.batch_size=4", "train.num_steps=4", "train.optimizer.kind=adamw", "tokenizer.kind=characters"]
    for preset in ("gpt1", "gpt2", "gpt3-125m"):
        figures = gptsmith.pretrain([text], out=tmp_path / preset, preset=preset, settings=[*shape, *rest])
        assert figures["step"] == 4
        assert gptsmith.load(tmp_path / preset).config.position.kind == "learned"


def test_the_python_face(trained: dict[str, Any]) -> None:
    loaded = gptsmith.load(trained["run"])
    assert loaded.config.embed_dim == 64
    assert loaded.generate("The old", max_tokens=5, temperature=0) == loaded.generate(
        "The old", max_tokens=5, temperature=0
    )
    model = gptsmith.GPT(gptsmith.GPTConfig(vocab_size=100, embed_dim=64, num_layers=2, num_heads=2))
    assert model(torch.zeros(1, 5, dtype=torch.long), attention_mask=None).shape == (1, 5, 100)
    assert set(gptsmith.__all__) == {
        "Callback", "GPT", "GPTConfig", "GptsmithError", "Loaded", "UserError", "__version__", "audit", "cache",
        "certify", "chat", "compress", "evaluate", "explain", "export", "finetune", "forget", "generate",
        "import_kinds", "import_model", "info", "load", "merge", "pairs", "plan", "predict", "prepare", "preset",
        "pretrain", "report", "runs", "serve", "studio",
        "CheckpointError", "ConfigurationError", "ContextOverflowError", "ConversionError",
        "DataError", "MissingExtraError", "TrainingDivergedError", "trace",
    }  # fmt: skip
    assert all(getattr(gptsmith, name) for name in gptsmith.__all__)


def test_files_read_and_skipped_is_shown_and_kept(text: Path, tmp_path: Path, call: Callable) -> None:
    own = shutil.copytree(text, tmp_path / "own")
    shutil.copy(own / "part0.txt", own / "again.txt")
    (own / "picture.txt").write_bytes(b"\x00" * 100)
    small = [argument for setting in [*SMALL, "train.num_steps=2"] for argument in ("--set", setting)]
    done = call("pretrain", own, "--out", "run", *small)
    assert "1 removed by exact deduplication, 1 file skipped" in done.err
    assert "picture.txt" in done.err
    kept = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
    assert [Path(path).name for path in kept["skipped"]] == ["picture.txt"]
    assert len(kept["files"]) == 4
