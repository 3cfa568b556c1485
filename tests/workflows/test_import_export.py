"""Models come in from other programs' folders and go out to them, by the verbs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.convert import certificate
from gptsmith.convert import state_dict as names
from gptsmith.convert.open import open_model
from gptsmith.convert.probe_texts import CONVERSATIONS
from tests.convert.folders import write_model
from tests.forked import Forked
from tests.workflows.conftest import SMALL, Outcome


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of Transformers' own making, with a chat template."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    write_model("llama3", folder)
    path = folder / "generation_config.json"
    sampling = {"do_sample": True, "temperature": 0.5, "top_k": 7, "repetition_penalty": 1.1}
    path.write_text(json.dumps({**json.loads(path.read_text()), **sampling}))
    return folder


@pytest.fixture(scope="session")
def chatty(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run that was tuned to converse, by adapters."""
    folder = tmp_path_factory.mktemp("chat")
    rows = [{"prompt": f"{n}?", "response": f"{n}."} for n in range(40)]
    (folder / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    figures = gptsmith.finetune(
        trained["run"], [folder / "talk.jsonl"], out=folder / "run", lora=4, settings=["train.num_steps=8"]
    )
    return str(figures["run"])


def nothing_is_left(folder: Path, *allowed: str) -> bool:
    return {path.name for path in folder.iterdir()} <= set(allowed)


@pytest.mark.parametrize("name", ["gemma3", "gpt_neox", "olmo2", "smollm3"])
def test_a_family_with_a_padding_token_of_its_own_goes_out_with_a_smaller_vocabulary(
    name: str, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    write_model(name, tmp_path / "model")
    assert call("import", tmp_path / "model", "--out", tmp_path / "run", "--json").code == 0
    outcome = call("export", tmp_path / "run", "--to", "huggingface", "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome
    assert json.loads((tmp_path / "out" / "config.json").read_text())["pad_token_id"] is None


def test_a_folder_becomes_a_run_with_a_certificate(llama: Path, call: Callable[..., Outcome]) -> None:
    outcome = call("import", llama, "--json")
    assert outcome.code == 0, outcome.err
    figures = outcome.object
    assert (figures["run"], figures["status"], figures["certificate"]) == ("runs/tiny-llama", "imported", "passed")
    assert figures["top1_agreement"] == 1.0
    plain = json.loads(Path("runs/tiny-llama/certificate.json").read_text())
    assert plain["status"] == "passed"
    assert plain["sides"][1]["reader"] == f"transformers {transformers.__version__}"
    assert "model.safetensors" in plain["sides"][1]["files"]
    again = call("import", llama)
    assert again.code == 2
    assert "exists already" in again.err


def test_every_verb_takes_the_folder_itself(
    llama: Path, call: Callable[..., Outcome], text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "transformers", None)
        first = call("generate", llama, "The old smith", "--max-tokens", "5", "--seed", "1", "--json")
        assert first.code == 0, first.err
        info = call("info", llama, "--json").object
    imported = call("import", llama, "--json").object
    second = call("generate", imported["run"], "The old smith", "--max-tokens", "5", "--seed", "1", "--json")
    assert first.object["text"] == second.object["text"]
    assert (info["step"], info["num_parameters"]) == (0, imported["num_parameters"])
    assert call("evaluate", llama, text / "part0.txt", "--json").object["bits_per_byte"] > 0
    rounded = call("compress", llama, "--to", "int8", "--out", "small", "--json")
    assert rounded.object["compared_on"] == "general text"
    without = call("evaluate", llama)
    assert without.code == 2
    assert "name a text" in without.err


def test_opening_a_folder_imports_neither_transformers_nor_a_compiler(llama: Path) -> None:
    code = (
        f"import sys, gptsmith; gptsmith.load({str(llama)!r}, device='cpu'); "
        "print([name for name in ('transformers', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_says_of_itself_what_its_import_says(llama: Path, tmp_path: Path) -> None:
    folder, run = open_model(llama), open_model(gptsmith.import_model(llama, out=tmp_path / "run")["run"])
    assert folder.settings() == run.settings()
    assert (folder.step, folder.config, folder.made_by) == (run.step, run.config, "import")
    assert folder.generation() == run.generation()
    assert folder.training() is run.training() is None
    assert folder.tokenizer().fingerprint == run.tokenizer().fingerprint
    assert folder.tokenizer().end_ids == run.tokenizer().end_ids
    ours, theirs = dict(folder.model().named_parameters()), dict(run.model().named_parameters())
    assert all(torch.equal(parameter, ours[name]) for name, parameter in theirs.items())


def test_a_changed_folder_is_another_model(llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llama, tmp_path / "copy"))
    before = open_model(folder).fingerprint
    assert open_model(folder).fingerprint == before
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert open_model(folder).fingerprint != before


def test_weights_of_another_dtype_stay_as_they_are(llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llama, tmp_path / "copy"))
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, folder / "model.safetensors")
    whole, half = open_model(llama).model(), open_model(folder).model()
    for one, other in zip(whole.parameters(), half.parameters(), strict=True):
        assert other.dtype == torch.bfloat16
        assert torch.equal(one.bfloat16(), other)


def test_an_imported_model_is_drawn_from_as_it_usually_is_and_begins_texts_as_it_should(llama: Path) -> None:
    model = gptsmith.load(llama)
    usual = {"temperature": 0.5, "top_k": 7, "repetition_penalty": 1.1}
    assert model.run.generation() == usual
    assert model.sampling({"temperature": None}).top_k == 7
    assert model.sampling({"temperature": 0.0, "top_k": 3}).repetition_penalty == 1.1
    assert model.generate("iron", max_tokens=4) == model.generate("iron", max_tokens=4, **usual)
    assert model.tokenizer.prompt_ids("iron")[0] == model.tokenizer.special_tokens["<|begin|>"]


@pytest.mark.parametrize(
    "sampling",
    [
        {"do_sample": True, "temperature": 0.5},
        {},
        {"repetition_penalty": 1.2, "top_k": 30},
        {"do_sample": False, "temperature": 1.0, "repetition_penalty": 1.0},
    ],
)
def test_a_copy_of_a_copy_pads_and_draws_as_its_source(sampling: dict[str, Any], llama: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(llama, source)
    config = json.loads((source / "tokenizer_config.json").read_text())
    named = {"pad_token": "<|end|>", "unk_token": {"content": "<|begin|>"}, "padding_side": "left"}
    extra = {"additional_special_tokens": ["<|end|>"]}
    (source / "special_tokens_map.json").write_text(json.dumps({k: v for k, v in named.items() if k != "padding_side"}))
    (source / "tokenizer_config.json").write_text(json.dumps({**config, **extra, "padding_side": "left"}))
    (source / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 1, **sampling}))
    folder = source
    for number in range(2):
        gptsmith.import_model(folder, out=tmp_path / f"run{number}")
        folder = Path(
            gptsmith.export(tmp_path / f"run{number}", to="huggingface", out=tmp_path / f"copy{number}")["folder"]
        )
        one, other = (transformers.AutoTokenizer.from_pretrained(place) for place in (source, folder))
        assert other.special_tokens_map == one.special_tokens_map
        assert set(other.all_special_tokens) == set(one.all_special_tokens)
        assert (other.padding_side, other.pad_token_id) == ("left", one.pad_token_id)
        assert other(["a", "b c d"], padding=True)["input_ids"] == one(["a", "b c d"], padding=True)["input_ids"]
        drawn = transformers.GenerationConfig.from_pretrained(folder)
        assert (bool(drawn.do_sample), drawn.pad_token_id) == (bool(sampling.get("do_sample")), one.pad_token_id)
        written = json.loads((folder / "generation_config.json").read_text())
        off = {"do_sample": False, "temperature": 1.0, "repetition_penalty": 1.0}
        assert {**off, **sampling} == {**off, **{name: written[name] for name in (*off, "top_k") if name in written}}


def test_an_imported_model_is_tuned_and_goes_out_again(llama: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {n}?", "response": f"It is {n}."} for n in range(40)]
    (tmp_path / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tuned = gptsmith.finetune(llama, [tmp_path / "talk.jsonl"], out=tmp_path / "tuned", settings=["train.num_steps=4"])
    assert tuned["general_text"] == "general questions"
    assert 0 < tuned["general_bits_per_byte_before"] != tuned["general_bits_per_byte"]
    out = gptsmith.export(tuned["run"], to="huggingface", out=tmp_path / "out")
    assert out["certificate"] == "passed"
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["rope_scaling"]["rope_type"] == "llama3"
    assert config["bos_token_id"] == json.loads((llama / "tokenizer.json").read_text())["added_tokens"][0]["id"]


def test_adapters_over_a_model_folder_are_resumed_merged_and_exported(llama: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {n}?", "response": f"It is {n}."} for n in range(40)]
    (tmp_path / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "tuned"
    gptsmith.finetune(llama, [tmp_path / "talk.jsonl"], out=run, lora=4, settings=["train.num_steps=4"])
    (run / "result.json").unlink()
    resumed = gptsmith.finetune(resume=run, settings=["train.num_steps=6"])
    assert (resumed["status"], resumed["step"]) == ("finished", 6)
    merged = gptsmith.merge(run, out=tmp_path / "merged")
    assert merged["largest_logit_difference"] < 1e-4
    steps = open_model(tmp_path / "merged").lineage()
    assert [step.made_by for step in steps] == ["merge", "finetune"]
    assert steps[-1].base == str(llama)
    out = gptsmith.export(run, to="peft", out=tmp_path / "peft")
    assert out["certificate"] == "passed"
    config = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(llama.resolve())


@pytest.mark.story
def test_a_model_that_reads_very_much_at_once_is_tuned_in_rows_that_fit(tmp_path: Path) -> None:
    write_model("qwen3", tmp_path / "long", max_position_embeddings=131_072)
    rows = [{"prompt": f"What is {n}?", "response": f"It is {n}."} for n in range(200)]
    (tmp_path / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "more.txt").write_text("The old smith forges a plough of iron.\n" * 3000)
    for data in ("talk.jsonl", "more.txt"):
        tuned = gptsmith.finetune(
            tmp_path / "long", [tmp_path / data], out=tmp_path / f"on-{data}", settings=["train.num_steps=1"]
        )
        assert tuned["num_tokens"] <= 16_384
    assert gptsmith.load(tmp_path / "on-more.txt").config.context_length == 131_072


def test_a_base_that_was_imported_from_a_folder_is_found_again_by_its_run(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("The old smith forges a plough of iron.\n" * 200)
    tuned = gptsmith.finetune(llama, [tmp_path / "more.txt"], out=tmp_path / "on", settings=["train.num_steps=2"])
    with pytest.raises(UserError, match="was trained elsewhere"):
        gptsmith.evaluate(tuned["run"])


def test_info_of_an_exported_folder_says_what_its_certificate_says(chatty: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = gptsmith.export(chatty, to="huggingface", out=out)
    assert gptsmith.info(out)["certificate"] == made["certificate"] == "passed"
    path = out / "certificate.json"
    written = json.loads(path.read_text())
    checks = [{**check, "status": "not run", "why": "no program reads it"} for check in written["checks"]]
    path.write_text(json.dumps({**written, "checks": checks}))
    found = gptsmith.info(out)
    assert (found["certificate"], found["certificate_reason"]) == ("not run", "no program reads it")
    path.write_text(json.dumps({**written, "checks": 3}))
    assert "certificate" not in gptsmith.info(out)


def test_a_chat_run_converses_in_transformers_as_here(chatty: str, tmp_path: Path) -> None:
    figures = gptsmith.export(chatty, to="huggingface", out=tmp_path / "out")
    assert figures["certificate"] == "passed"
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(
        figures["files"]
    )
    ours = gptsmith.load(chatty)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert ours.template is not None
    for messages in CONVERSATIONS:
        prompt = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        assert prompt == ours.template.prompt_ids(ours.tokenizer, messages)
    messages = [{"role": "user", "content": "3?"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    written = model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0, len(prompt) :]
    reply = ours.reply(messages, max_tokens=8, temperature=0)
    assert reply == tokenizer.decode(written, skip_special_tokens=True)
    ends = model.generation_config.eos_token_id
    assert set(ends) == set(ours.tokenizer.end_ids)
    card = (tmp_path / "out/README.md").read_text()
    assert "## Intended use" in card
    assert "talk.jsonl" in card
    assert "39?" not in card


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_within_its_bound(trained: dict[str, Any], tmp_path: Path, precision: str) -> None:
    figures = gptsmith.export(trained["run"], to="huggingface", out=tmp_path / "out", precision=precision)
    assert figures["certificate"] == "passed"
    assert 0 < figures["mean_divergence"] < 1e-2
    assert transformers.AutoConfig.from_pretrained(tmp_path / "out").dtype == getattr(torch, precision)


def test_a_rounded_run_goes_out_as_the_matrices_that_it_computes_with(trained: dict[str, Any], tmp_path: Path) -> None:
    gptsmith.compress(trained["run"], to="int8", out=tmp_path / "int8")
    figures = gptsmith.export(tmp_path / "int8", to="huggingface", out=tmp_path / "out")
    assert figures["certificate"] == "passed"
    assert figures["largest_logit_difference"] < 1e-4


def test_large_weights_are_written_as_several_files(trained: dict[str, Any], tmp_path: Path) -> None:
    figures = gptsmith.export(trained["run"], to="huggingface", out=tmp_path / "out", settings=("shard_bytes=200000",))
    shards = [name for name in figures["files"] if name.startswith("model-0")]
    assert len(shards) > 2
    assert figures["certificate"] == "passed"
    back = gptsmith.import_model(tmp_path / "out", out=tmp_path / "back")
    same = gptsmith.certify(trained["run"], back["run"])
    assert same["status"] == "passed"
    assert {c["name"]: c["figures"] for c in same["checks"]}["logits"]["largest_logit_difference"] == 0


def test_a_model_that_transformers_trained_a_step_further_comes_back(trained: dict[str, Any], tmp_path: Path) -> None:
    gptsmith.export(trained["run"], to="huggingface", out=tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").train()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = torch.tensor([tokenizer("The old smith forges a nail.")["input_ids"]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = model(ids, labels=ids).loss
    before.backward()
    optimizer.step()
    model.save_pretrained(tmp_path / "further")
    tokenizer.save_pretrained(tmp_path / "further")
    back = gptsmith.load(tmp_path / "further")
    with torch.no_grad():
        torch.testing.assert_close(back.model(ids), model.eval()(ids).logits, rtol=0, atol=1e-4)
    assert gptsmith.certify(trained["run"], tmp_path / "further")["status"] == "failed"


def test_a_flipped_bit_in_what_we_wrote_is_found(trained: dict[str, Any], tmp_path: Path) -> None:
    gptsmith.export(trained["run"], to="huggingface", out=tmp_path / "out")
    path = tmp_path / "out/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"does not match certificate\.json"):
        gptsmith.import_model(tmp_path / "out", out=tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_an_export_that_is_not_the_same_model_is_removed(
    trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = names.TensorMapping.join

    def wrong(self: names.TensorMapping, ours: Any) -> torch.Tensor:
        return join(self, ours) * (1.01 if self.theirs.endswith("o_proj.weight") else 1.0)

    monkeypatch.setattr(names.TensorMapping, "join", wrong)
    with pytest.raises(UserError, match="not the same model, so it was not kept: logits: "):
        gptsmith.export(trained["run"], to="huggingface", out=tmp_path / "out")
    assert nothing_is_left(tmp_path)


def test_an_import_that_is_not_the_same_model_is_removed(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = names.TensorMapping.split

    def wrong(self: names.TensorMapping, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        yield from split(self, tensor.roll(1, 0) if self.theirs.endswith("k_proj.weight") else tensor)

    monkeypatch.setattr(names.TensorMapping, "split", wrong)
    with pytest.raises(UserError, match="not the same model"):
        gptsmith.import_model(llama, out=tmp_path / "run")
    assert nothing_is_left(tmp_path)


def test_without_transformers_the_copy_is_read_by_this_program_and_the_certificate_says_so(
    llama: Path, trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    figures = gptsmith.import_model(llama, out=tmp_path / "run")
    assert figures["certificate"] == "not run"
    assert "Transformers is not installed here" in figures["certificate_reason"]
    out = gptsmith.export(trained["run"], to="huggingface", out=tmp_path / "out")
    assert out["certificate"] == "passed"
    sides = json.loads((tmp_path / "out/certificate.json").read_text())["sides"]
    assert [side["reader"].split()[0] for side in sides] == ["gptsmith", "gptsmith"]


def test_no_room_leaves_nothing(trained: dict[str, Any], llama: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match="the export needs"):
        gptsmith.export(trained["run"], to="huggingface", out=tmp_path / "out")
    with pytest.raises(UserError, match="the new run needs"):
        gptsmith.import_model(llama, out=tmp_path / "run")
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "RUN", "--to", "onnx"), "no such kind of format: onnx"),
        (("export", "RUN", "--to", "huggingface", "--precision", "int3"), "precision"),
        (("export", "RUN", "--to", "huggingface", "--out", "here"), "here exists already"),
        (("export", "nowhere", "--to", "huggingface"), "no such run"),
        (("import", "nowhere"), "no such folder"),
        (("import", "here"), "config.json is missing"),
        (("certify", "RUN", "nowhere"), "no such run"),
        (("certify", "RUN", "RUN", "--precision", "int3"), "allowed: float32"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, trained: dict[str, Any], call: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    outcome = call(*(trained["run"] if argument == "RUN" else argument for argument in arguments))
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 1
    assert message in outcome.err
    assert nothing_is_left(tmp_path, "here")


def test_a_run_with_a_part_that_no_program_knows_is_refused_by_its_name(text: Path, tmp_path: Path) -> None:
    run = gptsmith.pretrain(
        [text], out=tmp_path / "odd", settings=[*SMALL, "train.num_steps=1", "model.attention=additive"]
    )["run"]
    with pytest.raises(UserError, match=r"attention.kind=additive; the nearest .* preset smith"):
        gptsmith.export(run, to="huggingface", out=tmp_path / "out")
    assert nothing_is_left(tmp_path, "odd")


def test_two_models_are_told_apart(
    trained: dict[str, Any], chatty: str, llama: Path, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    same = call("certify", trained["run"], trained["run"], "--out", "proof")
    assert same.code == 0, same.err
    assert "logits: passed" in same.out
    assert (tmp_path / "proof/certificate.html").read_text().startswith("<!doctype html>")
    other = call("certify", trained["run"], chatty, "--json")
    assert other.code == 1
    assert other.object["status"] == "failed"
    strangers = call("certify", trained["run"], llama)
    assert strangers.code == 2
    assert "do not share a tokenizer" in strangers.err


def git_hash(path: Path) -> str:
    """The hash that Git, and so the Hub, knows a file by."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as fetching a model asks of it."""

    folder: Path

    def do_GET(self) -> None:
        self.answer(True)

    def do_HEAD(self) -> None:
        self.answer(False)

    def answer(self, with_body: bool) -> None:
        if self.path.startswith("/api/models/smith/tiny-llama"):
            files = [{"rfilename": path.name, "blobId": git_hash(path)} for path in sorted(self.folder.iterdir())]
            entries = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": git_hash(path)}
                for path in sorted(self.folder.iterdir())
            ]
            tree = "/tree/" in self.path
            info = {"id": "smith/tiny-llama", "sha": "a" * 40, "siblings": files, "tags": [], "downloads": 0}
            self.send(200, json.dumps(entries if tree else info).encode(), with_body, "application/json")
        elif self.path.startswith("/smith/tiny-llama/resolve/"):
            file = self.folder / self.path.rpartition("/")[2]
            self.send(200, file.read_bytes(), with_body, "application/octet-stream", file.name)
        else:
            self.send(404, b"", with_body, "text/plain")

    def send(self, code: int, body: bytes, with_body: bool, kind: str, etag: str = "x") -> None:
        self.send_response(code)
        for name, value in {
            "Content-Type": kind, "Content-Length": str(len(body)), "ETag": f'"{etag}"', "X-Repo-Commit": "a" * 40,
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(llama: Path) -> Iterator[str]:
    """A Hub on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneModel", (Hub,), {"folder": llama}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_model_is_fetched_from_the_hub_by_its_name(hub: str, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    process = Forked("import", "smith/tiny-llama", "--json", cwd=tmp_path, environment=environment)
    out, err = process.communicate()
    assert process.poll() == 0, err
    figures = json.loads(out)
    assert (figures["run"], figures["certificate"]) == ("runs/smith--tiny-llama", "passed")


def test_without_a_network_the_hub_is_an_error_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def no_network(*_: Any, **__: Any) -> str:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", no_network)
    with pytest.raises(
        UserError, match=r"could not be fetched from the Hub .*Network is unreachable.*bring the folder here"
    ):
        gptsmith.import_model("smith/never-fetched", out=tmp_path / "run")
    assert nothing_is_left(tmp_path)


def test_bounds_grow_with_what_is_rounded() -> None:
    bounds = [certificate.BOUNDS[name] for name in ("float32", "float16", "bfloat16", "q8_0")]
    assert [bound.divergence for bound in bounds] == sorted(bound.divergence for bound in bounds)
