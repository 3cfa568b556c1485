"""Tokenizers and templates of other programs' folders; folders that are not sound."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from gptsmith.base.errors import UserError
from gptsmith.convert.backends import Rendered
from gptsmith.convert.backends.own import OwnBackend
from gptsmith.convert.backends.transformers import TransformersBackend
from gptsmith.convert.families import families
from gptsmith.convert.huggingface import ModelFolder, is_model_folder
from gptsmith.convert.probe_texts import CONVERSATIONS, TEXTS
from gptsmith.convert.safetensors_files import TensorFiles
from gptsmith.text.load import load_tokenizer
from tests.convert.folders import TOKENIZERS, changed_config, languages, write_model, write_tokenizer


@pytest.mark.parametrize("style", TOKENIZERS)
def test_ids_are_those_of_transformers_in_every_language(style: str, tmp_path: Path, shared_data: Path) -> None:
    write_tokenizer(style, tmp_path)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)
    count = 0
    for text in [*languages(shared_data), *TEXTS]:
        expected = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert ours.encode(text) == expected, text[:60]
        count += 1
    assert count > len(TEXTS)


def test_gpt2s_own_tokenizer_is_read_from_its_two_files(shared_data: Path) -> None:
    folder = shared_data / "gpt2_tokenizer"
    if not folder.exists():
        pytest.skip("GPT-2's vocabulary is not beside the project")
    theirs = transformers.GPT2Tokenizer.from_pretrained(folder)
    ours = load_tokenizer(folder)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text, split_special_tokens=True)["input_ids"], text


def test_gpt1s_two_files_are_read_too(tmp_path: Path) -> None:
    backend = write_tokenizer("gpt1", tmp_path)
    expected = [backend.encode(text).ids for text in TEXTS]
    state = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps(state["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in state["merges"]))
    ours = load_tokenizer(tmp_path)
    ours.backend.encode_special_tokens = False
    assert [ours.encode(text) for text in TEXTS] == expected
    assert ours.decode(ours.encode("The Smith")).strip() == "the smith"


@pytest.mark.parametrize("style", ["llama2", "mistral"])
def test_text_inside_a_sentence_piece_conversation_has_the_spaces_that_transformers_gives_it(
    style: str, tmp_path: Path
) -> None:
    write_tokenizer(style, tmp_path)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)
    for text in ("old iron", " old iron", "鉄", ""):
        whole = theirs(f"<s>{text}</s>", add_special_tokens=False)["input_ids"]
        assert [1, *ours.encode_inside(text), 2] == whole


@pytest.mark.parametrize("style", TOKENIZERS)
def test_what_was_encoded_is_given_back_piece_by_piece(style: str, tmp_path: Path) -> None:
    write_tokenizer(style, tmp_path)
    ours = load_tokenizer(tmp_path)
    text = "The old smith, he forged: 3 swords (größer) 鉄"
    pieces = b"".join(ours.decode_bytes([number]) for number in ours.encode(text)).decode()
    if style == "gpt1":
        assert pieces.startswith("the old smith , he forged : ")
    else:
        assert pieces.removeprefix(" ") == text


@pytest.mark.parametrize("style", ["llama3", "llama2"])
def test_what_stands_before_every_text_is_known(style: str, tmp_path: Path) -> None:
    write_tokenizer(style, tmp_path)
    ours = load_tokenizer(tmp_path)
    assert list(ours.bos_ids) == [ours.backend.token_to_id(ours.bos_token)]
    assert ours.prompt_ids("a") == transformers.AutoTokenizer.from_pretrained(tmp_path)("a")["input_ids"]


def test_a_run_keeps_what_begins_and_ends_a_text(tmp_path: Path) -> None:
    write_model("llama3", tmp_path / "theirs")
    words = json.loads((tmp_path / "theirs/tokenizer.json").read_text())["added_tokens"]
    ids = {word["content"]: word["id"] for word in words}
    generation = tmp_path / "theirs/generation_config.json"
    generation.write_text(json.dumps({"eos_token_id": [ids["<|done|>"], ids["<|end|>"]]}))
    found = ModelFolder.open(tmp_path / "theirs")
    found.tokenizer.save(tmp_path)
    back = load_tokenizer(tmp_path)
    assert back.end_ids == {ids["<|done|>"], ids["<|end|>"]}
    assert back.bos_token == "<|begin|>"


def test_conversations_are_laid_out_as_transformers_does(tmp_path: Path) -> None:
    write_model("llama3", tmp_path)
    found = ModelFolder.open(tmp_path)
    theirs = TransformersBackend(tmp_path)
    ours = OwnBackend(found.model(), found.tokenizer, found.template)
    for messages in CONVERSATIONS:
        for open_turn in (False, True):
            here = ours.conversation(messages, open_turn=open_turn)
            assert isinstance(here, Rendered)
            assert here == theirs.conversation(messages, open_turn=open_turn)
    tool = [{"role": "tool", "content": "x"}]
    refusals = [side.conversation(tool, open_turn=False) for side in (ours, theirs)]
    assert all(isinstance(refusal, str) and "no tools" in refusal for refusal in refusals)


def test_a_template_may_be_one_of_several_in_the_tokenizers_config(tmp_path: Path) -> None:
    write_model("gpt2", tmp_path)
    path = tmp_path / "tokenizer_config.json"
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": named}))
    template = ModelFolder.open(tmp_path).template
    assert template is not None
    assert template.source == "yes"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    write_model("gpt2", folder)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A sound folder, to be spoilt."""
    return Path(shutil.copytree(written, tmp_path / "gpt2"))


def sharded(folder: Path, names: dict[str, str] | None = None) -> dict[str, Any]:
    """Splits a folder's weights into two files with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys = sorted(tensors)
    parts = {"a.safetensors": keys[:9], "b.safetensors": keys[9:]}
    for file, part in parts.items():
        save_file({key: tensors[key] for key in part}, folder / file)
    index = {"weight_map": {key: file for file, part in parts.items() for key in part} | (names or {})}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def test_sharded_weights_are_the_same(folder: Path) -> None:
    whole = dict(ModelFolder.open(folder).weights())
    sharded(folder)
    parts = dict(ModelFolder.open(folder).weights())
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_names_without_the_common_prefix_and_with_old_buffers_are_read(folder: Path) -> None:
    whole = dict(ModelFolder.open(folder).weights())
    tensors = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file({**bare, "h.0.attn.bias": torch.ones(1, 1, 4, 4)}, folder / "model.safetensors")
    again = dict(ModelFolder.open(folder).weights())
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def spoil_tensor(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], Any]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")

    return spoil


def spoil_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], Any]:
    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return spoil


def link_out(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    (folder / "model.safetensors").replace(outside)
    (folder / "model.safetensors").symlink_to(outside)


def only_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").replace(folder / "pytorch_model.bin")


def bomb(data: bytes) -> bytes:
    return (20_000_000).to_bytes(8, "little") + b"{" + b" " * 20_000_010


WTE, CFC = "transformer.wte.weight", "transformer.h.1.mlp.c_fc.weight"
BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an unknown family": (
        lambda f: changed_config(f, model_type="mamba"),
        rf"model_type='mamba' is not known \(known: {', '.join(family.model_type for family in families())}\)",
    ),
    "a setting that we do not have": (
        lambda f: changed_config(f, scale_attn_by_inverse_layer_idx=True),
        "scale_attn_by_inverse_layer_idx=True is not known",
    ),
    "an unknown activation": (lambda f: changed_config(f, activation_function="mish"), "activation_function='mish'"),
    "a missing setting": (lambda f: changed_config(f, n_embd=None), "embed_dim"),
    "a width that is a lie": (lambda f: changed_config(f, n_embd=64), "of another shape: .*c_attn"),
    "layers that are a lie": (lambda f: changed_config(f, n_layer=4), r"missing: transformer.h.3"),
    "a billion layers": (lambda f: changed_config(f, n_layer=10**9), "num_layers: must be "),
    "fewer layers": (lambda f: changed_config(f, n_layer=2), r"left over: transformer.h.2"),
    "a missing weight": (spoil_tensor(lambda t: t.pop(CFC)), f"missing: {CFC}"),
    "a weight too many": (spoil_tensor(lambda t: t.update(odd=t[CFC].clone())), "left over: odd"),
    "a weight of whole numbers": (spoil_tensor(lambda t: t.update({CFC: t[CFC].long()})), "is I64"),
    "a weight that is not finite": (spoil_tensor(lambda t: t[WTE][3].fill_(float("nan"))), "not finite"),
    "a file cut short": (spoil_bytes(lambda data: data[:-7]), "cut short"),
    "bytes behind the end": (spoil_bytes(lambda data: data + b"x"), "cut short|declares"),
    "an empty file": (spoil_bytes(lambda _: b""), "not a whole safetensors file"),
    "a header that is no JSON": (spoil_bytes(lambda data: data[:8] + b"?" + data[9:]), "in its header"),
    "a header bomb": (spoil_bytes(bomb), "more than the 10,000,000 allowed"),
    "a header longer than the file": (
        spoil_bytes(lambda data: (2**60).to_bytes(8, "little") + data[8:]),
        "its header says more",
    ),
    "a flipped offset": (
        spoil_bytes(lambda data: data.replace(b'"data_offsets":[0,', b'"data_offsets":[4,', 1)),
        "does not lie where",
    ),
    "a link out of the folder": (link_out, "link that leads out"),
    "a pickle alone": (only_a_pickle, r"is a pickle.*save_pretrained\('gpt2-safe'\)"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
    "an index that leaves the folder": (lambda f: sharded(f, {"x": "../a.safetensors"}), "leads out of the folder"),
    "an index of a missing file": (lambda f: sharded(f, {"x": "c.safetensors"}), "is missing"),
    "an index that lies": (lambda f: sharded(f, {"x": "a.safetensors"}), "do not agree about x"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer"),
    "a tokenizer that is no JSON": (lambda f: (f / "tokenizer.json").write_text("{"), "not a tokenizer"),
    "a tokenizer of another model": (
        lambda f: changed_config(f, vocab_size=300) or shrink(f),
        "do not match",
    ),
}


def shrink(folder: Path) -> None:
    spoil_tensor(lambda tensors: tensors.update({WTE: tensors[WTE][:300]}))(folder)


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_is_not_sound_is_refused(name: str, folder: Path) -> None:
    spoil, message = BAD[name]
    ModelFolder.open(folder)
    spoil(folder)
    with pytest.raises(UserError, match=message):
        dict(ModelFolder.open(folder).weights())


def test_a_link_inside_the_hubs_own_cache_is_read(folder: Path) -> None:
    snapshot = folder.parent / "models--x" / "snapshots" / "abc"
    blobs = folder.parent / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in folder.iterdir():
        path.replace(blobs / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    assert ModelFolder.open(snapshot).shape.num_layers == 3


def test_a_second_head_that_is_the_embedding_is_let_pass_and_another_is_not(folder: Path) -> None:
    spoil_tensor(lambda tensors: tensors.update({"lm_head.weight": tensors[WTE].clone()}))(folder)
    assert ModelFolder.open(folder).shape.tie_embeddings
    spoil_tensor(lambda tensors: tensors.update({"lm_head.weight": tensors[WTE] + 1}))(folder)
    with pytest.raises(UserError, match="is not the embedding"):
        ModelFolder.open(folder)


def test_a_folder_is_told_from_a_run_and_from_others(folder: Path, tmp_path: Path) -> None:
    assert is_model_folder(folder)
    assert not is_model_folder(tmp_path)
    (folder / "run.toml").write_text("")
    assert not is_model_folder(folder)


def test_two_files_of_one_tensor_are_refused(folder: Path) -> None:
    other = folder / "other.safetensors"
    shutil.copy(folder / "model.safetensors", other)
    with pytest.raises(UserError, match="both hold"):
        TensorFiles([folder / "model.safetensors", other])


@pytest.mark.parametrize("off", [{"top_k": 0}, {"top_k": -1}, {"top_p": 0.0}])
def test_a_generation_default_that_is_off_is_none(off: dict[str, float]) -> None:
    folder = SimpleNamespace(generation={"do_sample": True, "temperature": 0.7, **off})
    assert ModelFolder.sampling(folder) == {"temperature": 0.7}  # type: ignore[arg-type]
