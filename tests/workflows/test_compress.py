"""compress and merge: runs that are made from other runs."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tomli_w
import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_json
from gptsmith.compress import assessment, material
from gptsmith.compress import derive as derived
from gptsmith.compress.material import CALIBRATION_TOKENS, COMPARED_TOKENS, Material
from gptsmith.compress.methods.heal import HealMethodSettings
from gptsmith.convert.open import open_model
from gptsmith.model.linear.grouped import packed_weights
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.folder import Run
from gptsmith.train import validation_text
from tests.dropped_kind import dropped_kind

from .conftest import SMALL, write_text

ALWAYS = {
    "run", "status", "made_from", "step", "num_parameters", "weight_bytes_before", "weight_bytes", "ratio",
    "bits_per_weight", "compared_on", "num_compared_tokens", "kl_divergence", "largest_logit_difference",
    "mean_logit_difference", "top1_agreement", "num_scored_tokens",
    "seconds",
}  # fmt: skip
BITS = {"bits_per_byte_before", "bits_per_byte", "bits_per_byte_rise_low", "bits_per_byte_rise_high"}
WITH_TEXT = {*BITS, "validation_loss"}
WITH_GENERAL_TEXT = {f"general_{name}" for name in BITS}
FILES = {
    "paths.json",
    "run.toml",
    "run.schema.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "data.json",
    "result.json",
    "compression.json",
    "report.html",
}


@pytest.fixture(scope="module")
def small(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a run in int8."""
    return gptsmith.compress(trained["run"], to="int8", out=tmp_path_factory.mktemp("small") / "runs" / "int8")


@pytest.fixture(scope="module")
def with_adapters(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a run whose adapters were trained."""
    settings = [*SMALL, "train.num_steps=6", "model.linear.kind=lora", 'model.linear.targets=["*", "head"]']
    out = tmp_path_factory.mktemp("adapters") / "lora"
    return gptsmith.pretrain([text], out=out, settings=[*settings, "model.tie_embeddings=true"])


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_compress_makes_a_whole_run_and_says_how_far_it_is(trained: dict[str, Any], small: dict[str, Any]) -> None:
    assert set(small) == ALWAYS | WITH_TEXT
    assert (small["status"], small["made_from"]) == ("compressed", trained["run"])
    assert small["step"] == trained["best_step"]
    assert small["compared_on"] == "validation text"
    assert small["bits_per_byte_before"] == pytest.approx(trained["bits_per_byte"], abs=1e-3)
    assert small["bits_per_byte"] == pytest.approx(trained["bits_per_byte"], abs=0.02)
    assert small["bits_per_byte"] != small["bits_per_byte_before"]
    assert 0 < small["mean_logit_difference"] < small["largest_logit_difference"] < 1
    assert 0.9 < small["top1_agreement"] <= 1
    assert 0 < small["kl_divergence"] < 0.001
    run = Path(small["run"])
    assert {path.name for path in run.iterdir()} == FILES | {"checkpoints"}
    for name in ("tokenizer.json", "tokenizer_config.json", "data.json"):
        assert (run / name).read_bytes() == (Path(trained["run"]) / name).read_bytes()
    assert Run.open(run).result() == small


def test_the_checkpoint_has_weights_only_and_is_as_small_as_was_said(
    trained: dict[str, Any], small: dict[str, Any]
) -> None:
    (checkpoint,) = list_checkpoints(Path(small["run"]) / "checkpoints")
    assert checkpoint.problem() is None
    assert {path.name for path in checkpoint.folder.iterdir()} == {
        "MANIFEST.json", "model.json", "model.safetensors", "train_state.json", "settings.json", "environment.json",
    }  # fmt: skip
    size = (checkpoint.folder / "model.safetensors").stat().st_size
    assert small["weight_bytes"] < size < small["weight_bytes"] + 20_000
    assert small["ratio"] == small["weight_bytes_before"] / small["weight_bytes"]
    assert gptsmith.info(trained["run"])["weight_bytes"] == small["weight_bytes_before"]
    # Four bytes become one but for embedding, head and norms, and each row has a scale.
    matrices = [p for block in gptsmith.load(trained["run"]).model.blocks for p in block.parameters() if p.dim() == 2]
    saved = sum(3 * matrix.numel() - 4 * len(matrix) for matrix in matrices)
    assert len(matrices) == 14
    assert small["weight_bytes_before"] == 4 * trained["num_parameters"]
    assert small["weight_bytes"] == small["weight_bytes_before"] - saved
    state, source = checkpoint.train_state(), Run.open(trained["run"]).best(pytest.fail)
    assert (state.validation_loss, state.validation_step) == (small["validation_loss"], checkpoint.step)
    assert state.num_tokens == source.train_state().num_tokens
    settings = Run.open(small["run"]).settings()
    assert checkpoint.settings() == settings
    assert settings["model"]["linear"] == {"kind": "int8"}
    assert settings["source"] == Run.open(trained["run"]).settings()


def test_a_derived_run_says_what_it_was_made_from(trained: dict[str, Any], small: dict[str, Any]) -> None:
    own, source = Run.open(small["run"]).lineage()
    assert (own.made_by, own.request) == (
        "compress",
        {"run": trained["run"], "method": "int8", "methods": [{"kind": "int8"}], "text": []},
    )
    assert (source.made_by, source.settings) == ("pretrain", Run.open(trained["run"]).settings())
    assert Run.open(small["run"]).training() == source


def test_a_derived_run_of_version_1_says_so_too(small: dict[str, Any], tmp_path: Path) -> None:
    """Its run.toml was that of the other run, with another model."""
    run = Run.open(shutil.copytree(small["run"], tmp_path / "small"))
    new = run.settings()
    old = {**new["source"], "model": new["model"], "asked": new["source"]["request"], "format_version": 1}
    for name in ("made_by", "request"):
        old.pop(name)
    (run.folder / "run.toml").write_text(tomli_w.dumps(old), encoding="utf-8")
    own, source = run.lineage()
    assert (own.made_by, own.request) == ("compress", {"run": small["made_from"], "method": "int8"})
    assert (source.made_by, source.sources) == ("pretrain", new["source"]["request"]["sources"])
    assert gptsmith.evaluate(run.folder)["bits_per_byte"] == pytest.approx(small["bits_per_byte"], abs=1e-3)


def test_every_verb_takes_what_was_compressed(
    small: dict[str, Any], call: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(small["run"], tmp_path / "runs" / "moved")
    written = call("generate", run, "The old", "--seed", 3, "--max-tokens", 10)
    assert written.code == 0
    assert written.out.startswith("The old")
    monkeypatch.setattr(sys, "stdin", io.StringIO("The old smith\n/quit\n"))
    assert json.loads(call("chat", run, "--max-tokens", 5, "--json").out)["num_tokens"] >= 1
    info = call("info", run, "--json").object
    assert (info["linear"], info["weight_bytes"]) == ("int8", small["weight_bytes"])
    evaluated = call("evaluate", run, "--json").object
    assert evaluated["bits_per_byte"] == pytest.approx(small["bits_per_byte"], abs=1e-3)
    (row,) = call("runs", "--json").object["runs"]
    assert (row["status"], row["bits_per_byte"]) == ("compressed", small["bits_per_byte"])
    assert gptsmith.report(run).is_file()


def test_training_does_not_go_on_with_it(small: dict[str, Any], call: Callable, tmp_path: Path) -> None:
    run = shutil.copytree(small["run"], tmp_path / "small")
    before = bytes_of(run)
    for arguments in (["--resume", run], ["--resume", run, "--tokens", "5M"]):
        outcome = call("pretrain", *arguments)
        assert outcome.code == 2
        assert f"its training cannot be resumed: continue with {small['made_from']}" in outcome.err
    (run / "result.json").unlink()
    assert "continue with the run that it was made from" in call("pretrain", "--resume", run).err
    assert {name: data for name, data in bytes_of(run).items() if name != ".lock"} == {
        name: data for name, data in before.items() if name != "result.json"
    }


def test_the_new_run_stands_beside_the_first_one(trained: dict[str, Any], call: Callable, tmp_path: Path) -> None:
    source = shutil.copytree(trained["run"], tmp_path / "runs" / "mine")
    made = call("compress", "runs/mine/", "--to", "int8", "--json")
    assert made.code == 0, made.err
    assert made.object["run"] == str(Path("runs") / "mine-int8")
    assert Run.open(made.object["run"]).result() == made.object
    again = call("compress", source, "--to", "int8")
    assert again.code == 2
    assert "mine-int8 exists already" in again.err
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mine", "mine-int8"]


def test_a_folder_without_a_name_has_one(trained: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    source = shutil.copytree(trained["run"], tmp_path / "mine")
    monkeypatch.chdir(source)
    assert gptsmith.compress(".", to="int8")["run"] == str(tmp_path / "mine-int8")


def test_what_cannot_be_compressed_is_refused(
    small: dict[str, Any], with_adapters: dict[str, Any], call: Callable, tmp_path: Path
) -> None:
    for arguments, words in (
        ([small["run"], "--to", "int8"], "those of this model are int8 already"),
        ([with_adapters["run"], "--to", "int8"], "merge them first (gptsmith merge RUN)"),
        ([small["run"], "--to", "int9"], "no such compression"),
        (["missing", "--to", "int8"], "there is no such run"),
    ):
        outcome = call("compress", *arguments, "--out", tmp_path / "out")
        assert outcome.code == 2
        assert words in outcome.err
        assert outcome.out == ""
    outcome = call("merge", small["run"], "--out", tmp_path / "out")
    assert (outcome.code, list(tmp_path.iterdir())) == (2, [])
    assert "no adapters to merge: its linear layers are int8" in outcome.err


def test_without_its_text_general_text_is_compared(text: Path, call: Callable, tmp_path: Path) -> None:
    own = write_text(tmp_path / "own", num_files=2)
    run = gptsmith.pretrain([own], out=tmp_path / "run", settings=[*SMALL, "train.num_steps=2"])["run"]
    (own / "part0.txt").write_text("Quite another text. " * 400, encoding="utf-8")
    changed = call("compress", run, "--to", "int8", "--json")
    assert "has changed since it was trained on" in changed.err
    shutil.rmtree(own)
    gone = call("compress", run, "--to", "int8", "--out", tmp_path / "gone", "--json")
    assert "there is no validation text" in gone.err
    for outcome in (changed, gone):
        assert set(outcome.object) == ALWAYS | WITH_GENERAL_TEXT
        assert outcome.object["compared_on"] == "general text"
        assert 0 < outcome.object["num_compared_tokens"] <= COMPARED_TOKENS
    (checkpoint,) = list_checkpoints(Path(gone.object["run"]) / "checkpoints")
    assert checkpoint.train_state().validation_loss is None
    assert call("generate", gone.object["run"], "The", "--max-tokens", 3).code == 0


def test_a_run_that_fails_on_the_way_leaves_nothing(
    trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, value: Any) -> None:
        if path.name == "result.json":
            raise UserError("no room")
        write_json(path, value)

    monkeypatch.setattr(derived, "write_json", fails)
    with pytest.raises(UserError, match="no room"):
        gptsmith.compress(trained["run"], to="int8", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_merged_says_what_the_adapters_said(
    with_adapters: dict[str, Any], call: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shutil.copytree(with_adapters["run"], tmp_path / "tuned")
    (source / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    with monkeypatch.context() as patched:
        patched.setattr(derived, "side_by_side", lambda *_: pytest.fail("nobody reads these texts"))
        made = call("merge", source, "--json")
    assert made.code == 0, made.err
    figures = made.object
    assert set(figures) == ALWAYS | WITH_TEXT | {"merged_weights"}
    assert (figures["status"], figures["run"]) == ("merged", str(tmp_path / "tuned-merged"))
    assert figures["compared_on"] == "validation text"
    assert figures["largest_logit_difference"] < 1e-4
    assert figures["top1_agreement"] > 0.999
    assert figures["bits_per_byte"] == pytest.approx(figures["bits_per_byte_before"], abs=1e-5)
    assert (Path(figures["run"]) / "chat_template.jinja").read_text(encoding="utf-8") == "{{ messages[0].content }}"
    before, after = gptsmith.load(source, device="cpu"), gptsmith.load(figures["run"], device="cpu")
    assert (before.config.linear.kind, after.config.linear.kind) == ("lora", "dense")
    assert (before.config.tie_embeddings, after.config.tie_embeddings) == (True, False)
    change = before.model.blocks[0].attention.query
    assert change.lora_b.abs().sum() > 0
    torch.testing.assert_close(after.model.blocks[0].attention.query.weight, change.matrix(), rtol=0, atol=1e-6)
    settings = Run.open(figures["run"]).settings()["model"]
    assert (settings["linear"], settings["tie_embeddings"]) == ({"kind": "dense"}, False)
    assert call("compress", figures["run"], "--to", "int8", "--out", tmp_path / "small").code == 0


def test_a_tuned_run_is_compared_on_its_bases_text(trained: dict[str, Any], call: Callable, tmp_path: Path) -> None:
    turns = [
        [{"role": "user", "content": f"say {n % 5}"}, {"role": "assistant", "content": f"{n % 5}"}] for n in range(40)
    ]
    examples = tmp_path / "chat.jsonl"
    examples.write_text("\n".join(json.dumps({"messages": pair}) for pair in turns), encoding="utf-8")
    tuned = call(
        "finetune", trained["run"], examples, "--lora", 2, "--epochs", 1, "--out", tmp_path / "tuned", "--json"
    )
    assert tuned.code == 0, tuned.err
    figures = call("merge", tmp_path / "tuned", "--json").object
    assert set(figures) == ALWAYS | WITH_GENERAL_TEXT | {"merged_weights"}
    assert figures["compared_on"] == "base's validation text"
    assert figures["general_bits_per_byte_before"] == pytest.approx(tuned.object["general_bits_per_byte"], abs=1e-3)
    assert figures["general_bits_per_byte"] == pytest.approx(tuned.object["general_bits_per_byte"], abs=1e-3)
    loaded = gptsmith.load(figures["run"], device="cpu")
    assert loaded.config.linear.kind == "dense"
    assert isinstance(loaded.reply([{"role": "user", "content": "say 3"}], max_tokens=2), str)


def test_a_new_method_is_one_file(trained: dict[str, Any], call: Callable, tmp_path: Path) -> None:
    method = Path(__file__).parents[1] / "compress" / "new" / "zeros.py"
    with dropped_kind("gptsmith.compress.methods", method):
        made = call("compress", trained["run"], "--to", "zeros", "--out", "zeros", "--json")
        assert made.code == 0, made.err
    assert made.object["ratio"] == 1
    assert 0 < made.object["largest_logit_difference"] < 1
    assert Run.open(tmp_path / "zeros").lineage()[0].request["method"] == "zeros"
    blocks = gptsmith.load(tmp_path / "zeros").model.blocks
    assert not any(((p != 0) & (p.abs() < 1e-3)).any() for p in blocks.parameters())
    assert "no such compression" in call("compress", trained["run"], "--to", "zeros", "--out", "other").err


def test_what_calibrates_is_never_what_judges(trained: dict[str, Any]) -> None:
    run = open_model(trained["run"])
    texts = Material(run, run.model())
    given = texts.calibration_windows()
    assert sum(ids.numel() for ids in given) <= CALIBRATION_TOKENS
    assert all(ids.shape[1] == run.config.context_length for ids in given)
    assert len(texts.training.train) != len(texts.validation)
    held_back = {tuple(row) for ids, _ in texts.validation_windows() for row in ids.tolist()}
    assert not held_back & {tuple(row) for ids in given for row in ids.tolist()}


def test_the_text_is_prepared_once(trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    prepare = validation_text.prepare
    monkeypatch.setattr(
        validation_text, "prepare", lambda *given, **more: prepared.append(1) or prepare(*given, **more)
    )
    run = open_model(trained["run"])
    texts = Material(run, run.model())
    assert HealMethodSettings().require(run.config, texts) == run.config
    assert texts.calibration_windows()
    assert texts.validation_source == "validation text"
    assert len(prepared) == 1


def test_a_long_validation_text_is_scored_in_part(trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assessment, "COMPARED_TOKENS", 128)
    run = open_model(trained["run"])
    texts = Material(run, run.model())
    for name, limit, most in (
        ("SCORED_TOKENS", 256, 256),
        ("SCORED_PRODUCTS", 160 * texts.original.num_parameters, 160),
    ):
        monkeypatch.setattr(assessment, name, limit)
        figures = assessment.assess(texts, run.model())
        assert most // 2 < figures["num_scored_tokens"] <= most
        assert figures["bits_per_byte_rise_low"] == figures["bits_per_byte_rise_high"] == 0


def test_without_its_text_a_model_writes_what_calibrates_it(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(material, "CALIBRATION_TOKENS", 400)
    monkeypatch.setattr(material, "TRIAL_TOKENS", 100)
    run = open_model(shutil.copytree(trained["run"], tmp_path / "moved"))
    settings = (run.folder / "run.toml").read_text(encoding="utf-8")
    (run.folder / "run.toml").write_text(settings.replace("smiths", "gone"), encoding="utf-8")
    (run.folder / "paths.json").unlink()
    one, other = (Material(run, run.model()).calibration_windows() for _ in range(2))
    assert "calibrated on text that the model writes itself" in capsys.readouterr().err
    assert 400 < sum(ids.numel() for ids in one) <= 500
    assert torch.equal(one[0], other[0])
    assert "smith" in run.tokenizer().decode(one[0].flatten().tolist())


def test_text_that_is_given_calibrates_and_judges(
    trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "given.txt"
    given.write_text(
        "\n\n".join(f"Anvils ring {number} times each morning." for number in range(900)), encoding="utf-8"
    )
    read: list[Any] = []
    calibration = Material.calibration_windows
    monkeypatch.setattr(Material, "calibration_windows", lambda texts: read.append(texts) or calibration(texts))
    figures = gptsmith.compress(trained["run"], bits=5, text=[given], out=tmp_path / "smaller")
    assert set(figures) == ALWAYS | WITH_GENERAL_TEXT
    assert figures["compared_on"] == "text that was given"
    assert figures["general_bits_per_byte_before"] != pytest.approx(trained["bits_per_byte"], rel=0.05)
    words = [read[0].tokenizer.decode(ids.flatten().tolist()) for ids in read[0].calibration_windows()]
    assert all("Anvils ring" in text for text in words)
    assert Run.open(tmp_path / "smaller").lineage()[0].request["text"] == [str(given)]
    samples = json.loads((tmp_path / "smaller" / "compression.json").read_text(encoding="utf-8"))["samples"]
    assert any("Anvils ring" in sample["prompt"] for sample in samples)
    page = (tmp_path / "smaller" / "report.html").read_text(encoding="utf-8")
    assert "text that was given" in page
    assert "Of what the base knew" not in page, "it has learnt nothing, and its text is not the base's"


@pytest.mark.parametrize("given", ["missing.txt", "empty.txt"])
def test_text_that_cannot_be_read_makes_nothing(trained: dict[str, Any], tmp_path: Path, given: str) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match=given.split(".")[0]):
        gptsmith.compress(trained["run"], bits=5, text=[tmp_path / given], out=tmp_path / "smaller")
    assert not (tmp_path / "smaller").exists()


def test_prepared_text_without_a_validation_split_cannot_judge(
    trained: dict[str, Any], text: Path, tmp_path: Path
) -> None:
    gptsmith.prepare(
        [text], out=tmp_path / "prepared", tokenizer=trained["run"], settings=["data.validation_fraction=0"]
    )
    with pytest.raises(UserError, match="holds back no text to judge by"):
        gptsmith.compress(trained["run"], to="q8_0", text=[tmp_path / "prepared"], out=tmp_path / "smaller")


def test_compare_takes_no_text(trained: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="--compare does not go together with --text"):
        gptsmith.compress(trained["run"], compare=True, text=["some.txt"])


def test_weights_in_blocks_are_smaller_the_fewer_bits_they_have(trained: dict[str, Any], tmp_path: Path) -> None:
    found = {to: gptsmith.compress(trained["run"], to=to, out=tmp_path / to) for to in ("q8_0", "q4_0")}
    assert found["q8_0"]["kl_divergence"] < 0.1 * found["q4_0"]["kl_divergence"] < 0.1
    assert found["q4_0"]["weight_bytes"] < 0.6 * found["q8_0"]["weight_bytes"] < 0.2 * trained["num_parameters"] * 4
    for to, figures in found.items():
        assert figures["num_parameters"] == trained["num_parameters"]
        assert Run.open(figures["run"]).lineage()[0].request == {
            "run": trained["run"], "method": to, "methods": [{"kind": "round", "format": to}],
            "text": [],
        }  # fmt: skip
        packed = packed_weights(gptsmith.load(figures["run"]).model)
        assert "embedding.weight" in packed
        original = gptsmith.load(trained["run"]).model.embedding.matrix().detach().numpy()
        kind = gguf.GGMLQuantizationType[to.upper()]
        assert np.array_equal(packed["embedding.weight"].weight.numpy(), gguf.quantize(original, kind))
    with pytest.raises(UserError, match=r"q4_9': no such compression \(did you mean q4_"):
        gptsmith.compress(trained["run"], to="q4_9")
    # Weights in blocks can be rounded once more: the difference is then that from the blocks.
    twice = gptsmith.compress(found["q8_0"]["run"], to="q4_0", out=tmp_path / "twice")
    assert twice["weight_bytes"] == found["q4_0"]["weight_bytes"]
    assert twice["made_from"] == found["q8_0"]["run"]


@pytest.fixture(scope="module")
def mixed(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a run with 5 bits a weight."""
    return gptsmith.compress(trained["run"], bits=5, out=tmp_path_factory.mktemp("mixed") / "mixed")


def test_a_budget_of_bits_is_kept_and_costs_less_than_one_format(
    trained: dict[str, Any], mixed: dict[str, Any], tmp_path: Path
) -> None:
    same = gptsmith.compress(trained["run"], to="q4_1", out=tmp_path / "same")  # 5 bits as well
    assert mixed["weight_bytes"] <= same["weight_bytes"]
    assert mixed["kl_divergence"] < 0.8 * same["kl_divergence"]
    asked = Run.open(mixed["run"]).lineage()[0].request
    assert asked == {"run": trained["run"], "method": "5bits", "methods": [{"kind": "mixed", "bits": 5.0}], "text": []}
    names = {module.form.name for module in packed_weights(gptsmith.load(mixed["run"]).model).values()}
    assert "q4_0" in names
    assert len(names) > 1


def test_a_mixed_run_goes_to_gguf_block_by_block(mixed: dict[str, Any], tmp_path: Path) -> None:
    made = gptsmith.export(mixed["run"], to="gguf", out=tmp_path / "gguf")
    (file,) = Path(made["folder"]).glob("*.gguf")
    ours = packed_weights(gptsmith.load(mixed["run"]).model)
    tensors = gguf.GGUFReader(file).tensors
    assert sum(tensor.n_bytes for tensor in tensors) == pytest.approx(mixed["weight_bytes"], rel=0.05)
    in_blocks = sorted(tensor.tensor_type.name for tensor in tensors if tensor.tensor_type.name != "F32")
    assert in_blocks == sorted(module.form.name.upper() for module in ours.values())


def test_how_small_is_said_in_one_way(trained: dict[str, Any], call: Callable) -> None:
    for arguments, words in (
        ([], "say how to make it smaller, by --bits"),
        (["--bits", 5, "--to", "q4_0"], "--to and --bits exclude each other"),
        (["--bits", 5, "--bytes", "1MB"], "--bits and --bytes exclude each other"),
        (["--bits", 3], "--bits"),
        (["--bits", 16], "--bits"),
        (["--bytes", "1kB"], "the least possible is"),
        (["--to", "mixed"], "no such compression"),
    ):
        outcome = call("compress", trained["run"], *arguments, "--out", "small")
        assert (outcome.code, outcome.out) == (2, "")
        assert words in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1, outcome.err
        assert not Path("small").exists()


def test_the_report_shows_what_was_tried_and_ten_texts_side_by_side(
    mixed: dict[str, Any], small: dict[str, Any]
) -> None:
    folder = Path(mixed["run"])
    details = json.loads((folder / "compression.json").read_text(encoding="utf-8"))
    assert [trial["name"] for trial in details["trials"]] == [
        "q4_0",
        "q4_1",
        "q5_0",
        "q5_1",
        "q8_0",
        "mixed",
        "mixed, GPTQ",
    ]
    (chosen,) = [trial for trial in details["trials"] if trial["is_chosen"]]
    assert (chosen["name"], chosen["weight_bytes"]) == ("mixed, GPTQ", mixed["weight_bytes"])
    assert len(details["samples"]) == 10
    assert [len(shares) for shares in details["heads"]] == [2, 2]
    assert all(0 < share < 1 for shares in details["heads"] for share in shares)
    assert all(set(sample) == {"prompt", "before", "after"} for sample in details["samples"])
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "Reproduce" not in report, "it was not trained, and no command of training makes it again"
    for words in (
        "The same prompts before and after",
        "mixed, GPTQ",
        "How far attention heads have moved",
        "bits per byte (difference, 95 % interval)",
    ):
        assert words in report
    assert mixed["bits_per_byte_rise_low"] <= mixed["bits_per_byte"] - mixed["bits_per_byte_before"]
    assert mixed["bits_per_byte"] - mixed["bits_per_byte_before"] <= mixed["bits_per_byte_rise_high"]
    assert "The same prompts" in (Path(small["run"]) / "report.html").read_text(encoding="utf-8")


def test_compressed_runs_of_one_source_are_compared(
    trained: dict[str, Any], mixed: dict[str, Any], small: dict[str, Any], call: Callable, tmp_path: Path
) -> None:
    made = call("compress", "--compare", small["run"], mixed["run"], "--out", "page.html", "--json")
    assert made.code == 0, made.err
    rows = made.object["runs"]
    assert [row["run"] for row in rows] == [mixed["run"], small["run"]]  # the smallest first
    assert [row["kl_divergence"] for row in rows] == [mixed["kl_divergence"], small["kl_divergence"]]
    assert "5bits" in (tmp_path / "page.html").read_text(encoding="utf-8")
    shown = call("compress", small["run"], mixed["run"], "--compare", "--out", "page.html")
    assert "divergence" in shown.out
    twice = call("compress", mixed["run"], "--to", "q4_0", "--out", "twice", "--json")
    assert "is in grouped already, and the difference is that from it" in twice.err
    assert f"gptsmith compress {trained['run']} loses less" in twice.err
    other = twice.object["run"]
    for arguments, words in (
        ([small["run"]], "nothing to compare"),
        ([small["run"], trained["run"]], "is not a compressed run: it was made by pretrain"),
        ([small["run"], other], f"{other} was made of {mixed['run']}, and"),
        ([small["run"], mixed["run"], "--bits", 5], "--compare does not go together with --bits"),
    ):
        outcome = call("compress", "--compare", *arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert words in outcome.err
    assert "only one run can be compressed" in call("compress", small["run"], mixed["run"], "--to", "q8_0").err


def test_a_classifier_is_judged_by_its_labels(trained: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"text": f"a {word} {n}", "label": word} for n in range(20) for word in ("nail", "sword", "plough")]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    tuned = gptsmith.finetune(trained["run"], [tmp_path / "rows.jsonl"], epochs=1, out=tmp_path / "tuned")
    made = gptsmith.compress(tuned["run"], bits=6, out=tmp_path / "small")
    assert 0.9 < made["label_agreement"] <= 1
    assert "score_head.weight" not in packed_weights(gptsmith.load(made["run"]).model)
    assert next(iter(gptsmith.predict(made["run"], tmp_path / "rows.jsonl")))["predicted"] in (
        "nail",
        "sword",
        "plough",
    )
    assert json.loads((tmp_path / "small" / "compression.json").read_text(encoding="utf-8"))["samples"] == []
