"""What we read of a GGUF file is what llama.cpp reads of it. `make interop` builds it and runs these."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest

import gptsmith
from gptsmith.convert.backends.llama_cpp import LlamaCppBackend
from gptsmith.convert.backends.own import OwnBackend
from gptsmith.convert.certificate import compare
from gptsmith.convert.formats.gguf import FILE
from gptsmith.convert.gguf_model import GGUFModel
from gptsmith.convert.gguf_pretokenizers import all_names
from gptsmith.convert.probe_texts import TEXTS
from tests.convert.sources import MODELS, form, source


def written(name: str, folder: Path, precision: str, **changes: Any) -> Path:
    form("gguf", precision).write(source(name, **changes), folder)
    return folder / FILE


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "q8_0"])
@pytest.mark.parametrize("name", MODELS)
def test_a_file_of_every_family_is_the_same_model_to_both(name: str, precision: str, tmp_path: Path) -> None:
    found = GGUFModel.open(written(name, tmp_path, precision))
    own, other = OwnBackend(found.model(), found.tokenizer, found.template), LlamaCppBackend(found.path)
    certificate = compare(name, ("ours", "theirs"), own, other, precision=found.precision)
    expected = "not run" if found.template is None else "passed"
    assert {check.name: check.status for check in certificate.checks} == {
        "tokens": "passed", "conversations": expected, "logits": "passed", "greedy text": "passed",
    }, certificate.failures  # fmt: skip
    vocab = other.llama._model.vocab
    ends = {n for n in range(found.tokenizer.vocab_size) if llama_cpp.llama_vocab_is_eog(vocab, n)}
    assert found.tokenizer.end_ids == ends


def quantize(path: Path, target: Path, name: str) -> None:
    """Writes a file as llama.cpp's own quantizer does."""
    given = llama_cpp.llama_model_quantize_default_params()
    given.ftype, given.nthread = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}"), 1
    assert llama_cpp.llama_model_quantize(str(path).encode(), str(target).encode(), ctypes.byref(given)) == 0


@pytest.mark.parametrize("quantization", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_M", "Q4_K_M", "Q6_K", "IQ4_NL"])
def test_a_file_that_llama_cpp_quantized_is_the_same_model_to_both(quantization: str, tmp_path: Path) -> None:
    plain = written("smith", tmp_path, "float16", embed_dim=256, feedforward={"kind": "gated", "hidden_dim": 256})
    made = tmp_path / "quantized.gguf"
    quantize(plain, made, quantization)
    figures = gptsmith.certify(made, made, precision="q8_0")
    assert figures["status"] == "passed", figures


def test_our_8_bit_blocks_are_those_of_llama_cpps_own_quantizer(tmp_path: Path) -> None:
    made = source("llama3")
    for parameter in made.model.parameters():
        parameter.data = parameter.data.half().float()
    for precision in ("float16", "q8_0"):
        (tmp_path / precision).mkdir()
        form("gguf", precision).write(made, tmp_path / precision)
    theirs = tmp_path / "theirs.gguf"
    quantize(tmp_path / "float16" / FILE, theirs, "Q8_0")
    one, other = ({t.name: t for t in gguf.GGUFReader(path).tensors} for path in (tmp_path / "q8_0" / FILE, theirs))
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].tensor_type == other[name].tensor_type
        assert np.array_equal(one[name].data, other[name].data), name


@pytest.mark.parametrize("name", all_names())
def test_each_way_to_split_text_gives_llama_cpps_ids(name: str, tmp_path: Path, shared_data: Path) -> None:
    add = gguf.GGUFWriter.add_tokenizer_pre
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf.GGUFWriter, "add_tokenizer_pre", lambda self, _: add(self, name))
        path = written("smith", tmp_path, "float32", num_layers=1, tokenizer="gpt2")
    own, other = GGUFModel.open(path).tokenizer, LlamaCppBackend(path)
    texts = [*TEXTS, *_languages(shared_data)]
    odd = [text for text in texts if own.encode(text) != other.token_ids(text)]
    assert not odd, (len(odd), odd[0][:80])


def _languages(shared_data: Path) -> list[str]:
    file = shared_data / "udhr_languages.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()[::40] if file.exists() else []
    return [json.loads(line)["text"][:400] for line in lines]
