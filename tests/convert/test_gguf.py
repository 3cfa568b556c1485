"""What a GGUF file says, read back with the library that llama.cpp's own tools use."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

import gptsmith
from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.convert.certificate import CERTIFICATE
from gptsmith.convert.formats import Source
from gptsmith.convert.formats.gguf import FILE
from gptsmith.convert.gguf_vocabulary import Type, vocabulary_of
from gptsmith.convert.state_dict import plain_weights
from gptsmith.text.tokenizers.huggingface import HuggingFaceTokenizerSettings
from tests.convert.sources import EXPERTS, GEMMA2, MODELS, SMALL, TOKENIZERS, YARN, form, rotary, source, write_run

KINDS = gguf.GGMLQuantizationType


def written(made: Source, folder: Path, precision: str = "float32") -> gguf.GGUFReader:
    settings = form("gguf", precision)
    settings.check(made)
    settings.write(made, folder)
    return gguf.GGUFReader(folder / FILE)


def value(reader: gguf.GGUFReader, key: str) -> Any:
    return reader.fields[key].contents()


def tensors(reader: gguf.GGUFReader) -> dict[str, np.ndarray]:
    return {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_is_in_the_file_once(name: str, tmp_path: Path) -> None:
    made = source(name)
    found = tensors(written(made, tmp_path))
    found.pop("rope_freqs.weight", None)
    ours = plain_weights(made.model)
    assert sum(tensor.size for tensor in found.values()) == sum(weight.numel() for weight in ours.values())
    assert ("output.weight" in found) != made.model.config.tie_embeddings
    every = np.sort(np.concatenate([tensor.ravel() for tensor in found.values()]))
    assert np.array_equal(every, np.sort(torch.cat([weight.flatten() for weight in ours.values()]).numpy()))


def test_matrices_are_out_in_and_queries_keys_and_values_one_below_the_other(tmp_path: Path) -> None:
    made = source("gpt2")
    found, ours = tensors(written(made, tmp_path)), plain_weights(made.model)
    parts = [ours[f"blocks.1.attention.{part}.weight"] for part in ("query", "key", "value")]
    assert np.array_equal(found["blk.1.attn_qkv.weight"], torch.cat(parts).numpy())
    assert np.array_equal(found["blk.1.ffn_up.weight"], ours["blocks.1.feedforward.input.weight"].numpy())


def test_rows_of_queries_and_keys_are_neighbours_for_llama_and_halves_for_qwen(tmp_path: Path) -> None:
    for name, transposed in (("llama-biased", True), ("qwen2", False)):
        made = source(name)
        (tmp_path / name).mkdir()
        found, ours = tensors(written(made, tmp_path / name)), plain_weights(made.model)
        order = [row for pair in range(8) for row in (pair, pair + 8)] if transposed else list(range(16))
        for part, theirs, heads in (("query", "attn_q", 4), ("key", "attn_k", 2)):
            rows = [16 * head + row for head in range(heads) for row in order]
            for kind in ("weight", "bias"):
                expected = ours[f"blocks.0.attention.{part}.{kind}"].numpy()[rows]
                assert np.array_equal(found[f"blk.0.{theirs}.{kind}"], expected)
        assert np.array_equal(found["blk.0.attn_v.weight"], ours["blocks.0.attention.value.weight"].numpy())


def test_each_tensor_is_kept_as_the_precision_says(tmp_path: Path) -> None:
    wanted = {"float32": KINDS.F32, "float16": KINDS.F16, "bfloat16": KINDS.BF16, "q8_0": KINDS.Q8_0}
    # Relative to the largest of a block: half a step of each.
    errors = {"float32": 0.0, "float16": 2**-11, "bfloat16": 2**-8, "q8_0": 1 / 240}
    for precision, kind in wanted.items():
        made = source("gpt2", embed_dim=64, feedforward={"kind": "mlp", "hidden_dim": 80, "bias": True})
        (tmp_path / precision).mkdir()
        reader = written(made, tmp_path / precision, precision)
        kinds = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
        assert kinds["token_embd.weight"] == kinds["blk.0.attn_qkv.weight"] == kind
        assert kinds["position_embd.weight"] == kinds["blk.0.attn_norm.weight"] == kinds["blk.0.attn_qkv.bias"] == 0
        # 80 is no multiple of a block of 32.
        assert kinds["blk.0.ffn_down.weight"] == (KINDS.F16 if precision == "q8_0" else kind)
        ours = made.model.embedding.weight.detach().numpy()
        gap = np.abs(tensors(reader)["token_embd.weight"] - ours).max()
        assert gap <= errors[precision] * np.abs(ours).max()


def test_the_shape_and_the_defaults_are_said(tmp_path: Path) -> None:
    reader = written(source("qwen3-yarn"), tmp_path, "bfloat16")
    expected = {
        "general.architecture": "qwen3", "general.name": "qwen3-yarn", "general.file_type": 32,
        "qwen3.context_length": 128, "qwen3.embedding_length": 64, "qwen3.block_count": 3,
        "qwen3.feed_forward_length": 96, "qwen3.attention.head_count": 4, "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 32, "qwen3.attention.value_length": 32, "qwen3.rope.dimension_count": 32,
        "qwen3.rope.freq_base": 100.0, "qwen3.rope.scaling.type": "yarn", "qwen3.rope.scaling.factor": 4.0,
        "qwen3.rope.scaling.original_context_length": 64, "general.sampling.top_k": 40,
    }  # fmt: skip
    assert {key: value(reader, key) for key in expected} == expected
    assert value(reader, "general.sampling.temp") == pytest.approx(0.7)


def test_a_name_does_not_change_the_tokens(tmp_path: Path) -> None:
    """llama.cpp tokenizes otherwise if a name contains phi3."""
    assert value(written(source("phi3"), tmp_path), "general.name") == "phi 3"


def test_llama_3s_frequencies_are_a_tensor_of_what_they_are_divided_by(tmp_path: Path) -> None:
    factors = tensors(written(source("llama3"), tmp_path))["rope_freqs.weight"]
    assert factors.shape == (8,)
    assert factors[0] == 1.0  # turns more than four times in the context of 32
    assert factors[-1] == 8.0  # turns less than once
    assert np.all(np.diff(factors) >= 0)


def test_the_tokenizer_and_the_template_are_in_the_file(tmp_path: Path) -> None:
    made = source("llama3")
    reader = written(made, tmp_path)
    vocab = made.tokenizer.backend.get_vocab(with_added_tokens=True)
    tokens = value(reader, "tokenizer.ggml.tokens")
    assert tokens[: len(vocab)] == sorted(vocab, key=vocab.__getitem__)
    assert len(tokens) == made.model.config.vocab_size == len(vocab) + 5
    types = value(reader, "tokenizer.ggml.token_type")
    assert types[-5:] == [Type.UNUSED] * 5
    assert {number for number, kind in enumerate(types) if kind == Type.CONTROL} == set(made.tokenizer.special_ids)
    merges = [" ".join(pair) for pair in made.tokenizer.state["model"]["merges"]]
    assert value(reader, "tokenizer.ggml.merges") == merges
    assert value(reader, "tokenizer.ggml.model") == "gpt2"
    assert value(reader, "tokenizer.ggml.add_bos_token") is True
    ids = {name: value(reader, f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot")}
    assert {name: tokens[number] for name, number in ids.items()} == {
        "bos": "<|begin_of_text|>", "eos": "<|end_of_text|>", "eot": "<|eot_id|>",
    }  # fmt: skip
    assert made.template is not None
    assert value(reader, "tokenizer.chat_template") == made.template.source


NAMES = {"bpe": "qwen2", "bytes": "qwen2", "gpt2": "gpt-2", "qwen2": "qwen2", "llama3": "llama-bpe", "smollm": "smollm"}


@pytest.mark.parametrize("style", NAMES)
def test_the_way_to_split_text_has_llama_cpps_name(style: str) -> None:
    tokenizer = TOKENIZERS[style]()
    vocabulary = vocabulary_of(tokenizer, tokenizer.vocab_size)
    assert (vocabulary.model, vocabulary.pre) == ("gpt2", NAMES[style])
    assert vocabulary.merges  # llama.cpp reads no file without
    assert vocabulary.composes == (style == "qwen2")
    assert not vocabulary.adds_space


def test_sentencepiece_has_scores_by_the_order_of_merges_and_bytes_of_their_own_type() -> None:
    tokenizer = TOKENIZERS["llama2"]()
    vocabulary = vocabulary_of(tokenizer, tokenizer.vocab_size)
    assert (vocabulary.model, vocabulary.adds_space, vocabulary.adds_bos, vocabulary.merges) == (
        "llama",
        True,
        True,
        [],
    )
    assert vocabulary_of(TOKENIZERS["metaspace-never"](), 2000).adds_space is False
    kinds = dict(zip(vocabulary.tokens, vocabulary.types, strict=True))
    assert kinds["<unk>"] == Type.UNKNOWN
    assert kinds["<s>"] == kinds["</s>"] == Type.CONTROL
    assert [vocabulary.tokens[n] for n, kind in enumerate(vocabulary.types) if kind == Type.BYTE] == [
        f"<0x{byte:02X}>" for byte in range(256)
    ]
    scores = dict(zip(vocabulary.tokens, vocabulary.scores, strict=True))
    merged = list(dict.fromkeys("".join(pair) for pair in tokenizer.state["model"]["merges"]))
    assert sorted(merged, key=scores.__getitem__, reverse=True) == merged


def changed_tokenizer(style: str, change: Callable[[dict[str, Any]], Any], folder: Path) -> Source:
    """A source whose tokenizer.json was changed."""
    made = source("smith", tokenizer=style)
    state = json.loads(made.tokenizer.backend.to_str())
    change(state)
    (folder / "tokenizer.json").write_text(json.dumps(state))
    tokenizer = HuggingFaceTokenizerSettings(path=str(folder)).train(list, 0)
    return Source("changed", made.model, tokenizer, None, {}, None, "")


def shape_of(name: str, **changes: Any) -> Callable[[Path], Source]:
    return lambda _: source(name, **changes)


def tokenizer_of(style: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Source]:
    return lambda folder: changed_tokenizer(style, change, folder)


SLIDING_WINDOW = {"kind": "sliding_window", "window_size": 9, "layers": "all", "num_kv_heads": 2, "qk_norm": False}
LLAMA3_SCALING = {"kind": "llama3", "factor": 8.0, "original_context_length": 32}
REFUSED: dict[str, tuple[Callable[[Path], Source], str]] = {
    "GPT-1": (shape_of("gpt2", norm_placement="post"), "norm_placement=post; the nearest .* is the preset gpt2"),
    "alibi": (shape_of("smith", position="alibi"), "position.kind=alibi"),
    "a sliding window": (
        shape_of("mistral", attention=SLIDING_WINDOW),
        "no model with attention.kind=sliding_window: its llama always has full",
    ),
    "another activation": (
        shape_of("gpt2", feedforward={"kind": "mlp", "activation": "relu", "bias": True}),
        "no model with feedforward.activation=relu: its gpt2 always has gelu_tanh",
    ),
    "a tied head": (shape_of("olmo2", tie_embeddings=True), "tie_embeddings=true: its olmo2 always has false"),
    "heads of another width": (shape_of("starcoder2", head_dim=8), "head_dim=8: its starcoder2 always has 16"),
    "a window of StarCoder's": (
        shape_of("starcoder2", attention=SLIDING_WINDOW | {"bias": True}), "attention.kind=sliding_window",
    ),
    "other layers without positions": (
        shape_of("smollm3", position={"kind": "rotary", "layers": [1, 2, 3]}), r"position.layers=\[1, 2, 3\]: its",
    ),
    "experts' weights that are probabilities": (
        shape_of("qwen3_moe", feedforward=EXPERTS | {"renormalize": False}), "feedforward.renormalize=false: its",
    ),
    "another scale of Gemma's": (
        shape_of("gemma3", embedding_multiplier=7.0), "family gemma3_text|embedding_multiplier=7.0",
    ),
    "logits without a cap": (shape_of("gemma2", logits_cap=None), "logits_cap=not set: its gemma2 always has 30.0"),
    "other layers with windows": (
        shape_of("gemma2", attention=GEMMA2["attention"] | {"layers": [1]}), r"attention.layers=\[1\]: its gemma2",
    ),
    "another gate": (
        shape_of("llama2", feedforward={"kind": "gated", "activation": "geglu"}), "feedforward.activation=geglu",
    ),
    "frequencies that the family does not know": (
        shape_of("qwen2", **rotary(1e6, LLAMA3_SCALING)), "position.scaling.kind=llama3: its qwen2 knows linear, yarn",
    ),
    "frequencies that no code of it reads": (
        shape_of("qwen3-yarn", **rotary(1e2, YARN | {"fast_rotations": 4.0})),
        "no model with position.scaling.fast_rotations=4.0: its qwen3 always has 32",
    ),
    "a bias behind attention": (
        shape_of("qwen3", attention={"kind": "full", "qk_norm": True, "bias": True}),
        "attention.output_bias=true: its qwen3 always has false",
    ),
    "characters": (shape_of("smith", tokenizer="characters"), r"text split by \[.*such as the tokenizer bpe makes"),
    "a space before some texts": (shape_of("smith", tokenizer="metaspace-first"), "no tokenizer with Metaspace"),
    "another split": (
        tokenizer_of("bpe", lambda s: s["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\w+")),
        r"text split by \\w\+",
    ),
    "a split that leaves out": (
        tokenizer_of("bpe", lambda s: s["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed")),
        "the pre-tokenizer Split",
    ),
    "a normalizer": (tokenizer_of("bpe", lambda s: s.update(normalizer={"type": "Lowercase"})), "normalizer Lowercase"),
    "a part beside SentencePiece's": (
        tokenizer_of("llama2", lambda s: s["normalizer"]["normalizers"].append({"type": "NFKC"})), "the part NFKC",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_llama_cpp_does_not_know_is_refused_by_name(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        form("gguf").check(make(tmp_path))


def test_an_activation_that_llama_cpp_approximates_is_no_obstacle() -> None:
    form("gguf").check(source("gpt_neox", feedforward={"kind": "mlp", "activation": "gelu", "bias": True}))


def test_the_experts_of_a_layer_are_one_tensor_and_their_router_is_not_rounded(tmp_path: Path) -> None:
    made = source("qwen3_moe")
    reader = written(made, tmp_path, "q8_0")
    found, ours = {tensor.name: tensor for tensor in reader.tensors}, plain_weights(made.model)
    stack = torch.stack([ours[f"blocks.1.feedforward.experts.{number}.input.weight"] for number in range(5)])
    assert np.abs(tensors(reader)["blk.1.ffn_up_exps.weight"] - stack.numpy()).max() < 0.01
    assert found["blk.1.ffn_up_exps.weight"].tensor_type == KINDS.Q8_0
    assert found["blk.1.ffn_gate_inp.weight"].tensor_type == KINDS.F32


def test_a_band_as_wide_as_the_context_is_no_band() -> None:
    form("gguf").check(source("mistral", attention=SLIDING_WINDOW | {"window_size": 128}))


def test_a_weight_that_float16_cannot_hold_is_refused() -> None:
    made = source("smith")
    with torch.no_grad():
        made.model.blocks[1].feedforward.gate.weight[2, 3] = 70_000.0
    with pytest.raises(UserError, match=r"blocks.1.feedforward.gate.weight is larger than float16 can be"):
        form("gguf", "float16").check(made)
    form("gguf", "bfloat16").check(made)


@pytest.fixture
def without_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the library is not installed."""
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    monkeypatch.delitem(sys.modules, "gptsmith.convert.backends.llama_cpp", raising=False)


@pytest.mark.usefixtures("without_llama_cpp")
def test_without_llama_cpp_an_export_says_that_nothing_was_compared(tmp_path: Path) -> None:
    run = write_run(source("smith", **SMALL), tmp_path / "run")
    figures = gptsmith.export(run, to="gguf")
    assert (figures["folder"], figures["files"]) == (str(tmp_path / "run-gguf"), [FILE])
    assert (figures["certificate"], figures["precision"]) == ("not run", "float16")
    assert "llama.cpp's library is not installed here" in figures["certificate_reason"]
    certificate = json.loads((tmp_path / "run-gguf" / CERTIFICATE).read_text())
    assert {check["status"] for check in certificate["checks"]} == {"not run"}
    assert "pip install 'gptsmith[interop]'" in certificate["checks"][0]["why"]
    with pytest.raises(MissingExtraError, match=r"gptsmith\[interop\]"):
        gptsmith.certify(run, tmp_path / "run-gguf" / FILE)
