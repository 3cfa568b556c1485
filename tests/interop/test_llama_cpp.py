"""llama.cpp itself reads what we write, and computes what we compute. `make interop` builds it and runs these."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.convert import gguf_layout
from gptsmith.convert import gguf_vocabulary as gguf_words
from gptsmith.convert.backends.llama_cpp import LlamaCppBackend
from gptsmith.convert.backends.own import OwnBackend
from gptsmith.convert.certificate import CERTIFICATE, compare
from gptsmith.convert.families import GGUFArchitecture
from gptsmith.convert.formats import gguf as gguf_format
from gptsmith.convert.formats.gguf import FILE
from gptsmith.convert.gguf_layout import GGUFTensor
from gptsmith.convert.gguf_rope import DIVISORS
from gptsmith.convert.probe_texts import TEXTS
from tests.convert.sources import MODELS, TOKENIZERS, form, source, write_run

PRECISIONS = ("float32", "float16", "bfloat16", "q8_0")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
def test_tokens_logits_greedy_text_and_conversations_are_the_same(name: str, precision: str, tmp_path: Path) -> None:
    made, settings = source(name), form("gguf", precision)
    settings.check(made)
    settings.write(made, tmp_path)
    reader = settings.backend(tmp_path)
    assert isinstance(reader, LlamaCppBackend)
    own = OwnBackend(made.model, made.tokenizer, made.template)
    certificate = compare(name, ("ours", "theirs"), own, reader, precision=precision)
    expected = dict.fromkeys(("tokens", "conversations", "logits", "greedy text"), "passed")
    if made.template is None:
        expected["conversations"] = "not run"
    assert {check.name: check.status for check in certificate.checks} == expected, certificate.failures
    logits, greedy = certificate.checks[2], certificate.checks[3]
    assert logits.figures["num_positions"] > 100
    if precision == "float32":
        assert greedy.figures["num_equal"] == greedy.figures["num_tokens"] == 192


def languages(shared_data: Path) -> Iterator[str]:
    """The Declaration of Human Rights in 388 languages where it is there, and the texts of certificates."""
    yield from TEXTS
    file = shared_data / "udhr_languages.jsonl"
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)["text"][:1500]


@pytest.mark.parametrize("style", [style for style in TOKENIZERS if style not in ("characters", "metaspace-first")])
def test_texts_of_all_languages_have_the_same_tokens(style: str, tmp_path: Path, shared_data: Path) -> None:
    name = "llama3" if style == "llama3" else "smith"
    made = source(name, tokenizer=style, num_layers=1)
    form("gguf").write(made, tmp_path)
    reader = LlamaCppBackend(tmp_path / FILE)
    for text in languages(shared_data):
        assert reader.token_ids(text) == made.tokenizer.encode(text), text[:60]


def test_special_tokens_in_a_text_are_text(tmp_path: Path) -> None:
    made = source("smith")
    form("gguf").write(made, tmp_path)
    reader = LlamaCppBackend(tmp_path / FILE)
    assert sorted(reader.special_tokens) == sorted(made.tokenizer.special_tokens)
    assert not made.tokenizer.special_ids & set(reader.token_ids("<|im_start|>user\n<|im_end|><|endoftext|>"))


def test_a_run_is_exported_and_certified(tmp_path: Path) -> None:
    run = write_run(source("smith"), tmp_path / "run")
    for kind, precision in (("gguf", "float16"), ("ollama", "q8_0")):
        figures = gptsmith.export(run, to=kind, out=tmp_path / kind)
        assert (figures["certificate"], figures["precision"]) == ("passed", precision)
        certificate = json.loads((tmp_path / kind / CERTIFICATE).read_text())
        assert "llama-cpp-python" in certificate["sides"][1]["reader"]
        assert ("Ollama itself: not run" in certificate["sides"][1]["reader"]) == (kind == "ollama")
        assert set(certificate["sides"][1]["files"]) == {FILE} | ({"Modelfile"} if kind == "ollama" else set())
        again = gptsmith.certify(run, tmp_path / kind / FILE, precision=precision)
        assert again["status"] == "passed"
    other = write_run(source("smith", tie_embeddings=True), tmp_path / "other")
    assert gptsmith.certify(other, tmp_path / "gguf" / FILE, precision="float16")["status"] == "failed"


def test_a_file_that_llama_cpp_does_not_read_is_an_error_with_its_reason(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\0" * 64)
    with pytest.raises(UserError, match=r"llama.cpp does not read bad.gguf: .+"):
        LlamaCppBackend(bad)


def test_a_run_of_rounded_weights_goes_out_as_it_computes(tmp_path: Path) -> None:
    run = write_run(source("smith"), tmp_path / "run")
    gptsmith.compress(run, to="int8", out=tmp_path / "int8")
    assert gptsmith.export(tmp_path / "int8", to="gguf", precision="float32")["certificate"] == "passed"


Change = Callable[[pytest.MonkeyPatch], Any]


def tensors(change: Callable[[str, Any], Any]) -> Change:
    """Writes other tensors than the model's, before they are rounded."""
    join, divisors = GGUFTensor.join, gguf_format.divisors

    def spoil(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(GGUFTensor, "join", lambda self, ours: change(self.name, join(self, ours)))
        patch.setattr(
            gguf_format, "divisors", lambda shape: None if (d := divisors(shape)) is None else change(DIVISORS, d)
        )

    return spoil


def keys(change: Callable[[str, Any], Any]) -> Change:
    """Writes other settings and words than the model's."""

    def spoil(patch: pytest.MonkeyPatch) -> None:
        import gguf

        add = gguf.GGUFWriter.add_key_value
        patch.setattr(
            gguf.GGUFWriter,
            "add_key_value",
            lambda self, key, value, *rest, **more: add(self, key, change(key, value), *rest, **more),
        )

    return spoil


def only(ending: str, value: Any) -> Callable[[str, Any], Any]:
    """Another value for the key with this ending."""
    return lambda key, was: (value(was) if callable(value) else value) if key.endswith(ending) else was


FAULTS: dict[str, tuple[str, Change, str]] = {
    "rows of queries as we have them": (
        "llama3", lambda p: p.setattr(GGUFTensor, "_interleaved", lambda _, rows: rows), "logits",
    ),
    "rows turned where they should not be": (
        "qwen2",
        lambda p: p.setattr(
            gguf_layout, "architecture_of", lambda _: GGUFArchitecture("qwen2", is_interleaved=True)
        ),
        "logits",
    ),
    "a bias of nothing": ("qwen2", tensors(lambda n, t: t * 0 if n == "blk.1.attn_v.bias" else t), "logits"),
    "a gain of one": ("qwen3", tensors(lambda n, t: t * 0 + 1 if n == "blk.2.attn_q_norm.weight" else t), "logits"),
    "experts in another order": (
        "qwen3_moe", tensors(lambda n, t: t.roll(1, 0) if n == "blk.1.ffn_up_exps.weight" else t), "logits",
    ),
    "a gain that is its distance from one": (
        "gemma3", tensors(lambda n, t: t - 1 if n == "blk.1.post_ffw_norm.weight" else t), "logits",
    ),
    "another cap of scores": ("gemma2", keys(only("attn_logit_softcapping", 50.0)), "logits"),
    "another cap of logits": ("gemma2", keys(only("final_logit_softcapping", 30.0)), "logits"),
    "another window": ("gemma2", keys(only("sliding_window", 4096)), "logits"),
    "another base of local layers": ("gemma3", keys(only("rope.freq_base_swa", 10_000.0)), "logits"),
    "another pattern of windows": ("gemma3", keys(only("sliding_window_pattern", [True] * 3)), "logits"),
    "another part of each head": ("gpt_neox", keys(only("rope.dimension_count", 8)), "logits"),
    "another scale of residuals": ("granite", keys(only("residual_scale", 1.0)), "logits"),
    "positions one off": ("gpt2", tensors(lambda n, t: t.roll(1, 0) if n == "position_embd.weight" else t), "logits"),
    "no frequencies": ("llama3", tensors(lambda n, t: t * 0 + 1 if n == "rope_freqs.weight" else t), "logits"),
    "another base": ("smith", keys(only("rope.freq_base", 10_000.0)), "logits"),
    "another factor": ("llama-linear", keys(only("rope.scaling.factor", 3.0)), "logits"),
    "another attention factor": ("qwen3-yarn", keys(only("attn_factor", 1.0)), "logits"),
    "another trained context": ("qwen2-yarn", keys(only("original_context_length", 64)), "logits"),
    "another way to split": ("smith", keys(only("tokenizer.ggml.pre", "gpt-2")), "tokens"),
    "merges in another order": ("smith", keys(only("ggml.merges", lambda was: was[::-1])), "tokens"),
    "scores in another order": ("llama2", keys(only("ggml.scores", lambda was: [-x for x in was])), "tokens"),
    "a space before every text": ("llama-metaspace", keys(only("add_space_prefix", True)), "tokens"),
    "no opening": ("llama3", keys(only("add_bos_token", False)), "tokens"),
    "characters not composed": ("qwen2", keys(only(gguf_words.COMPOSES, False)), "tokens"),
    "another template": ("smith", keys(only("chat_template", lambda was: was.replace("user", "User") + " ")), "conv"),
    "special tokens that are words": (
        "smith", keys(only("token_type", lambda was: [gguf_words.Type.NORMAL] * len(was))), "conversations",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_makes_the_export_fail_and_leaves_nothing(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, spoil, check = FAULTS[fault]
    run = write_run(source(name), tmp_path / "run")
    spoil(monkeypatch)
    with pytest.raises(UserError, match=rf"is not the same model, so it was not kept: .*{check}"):
        gptsmith.export(run, to="gguf", out=tmp_path / "out", precision="float32")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_weights_rounded_more_than_their_precision_make_the_export_fail(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One layer of every matrix with half as many bits."""
    coarse = {"float16": 2**6, "bfloat16": 2**3, "q8_0": 2**2}[precision]

    def rounded(name: str, tensor: Any) -> Any:
        step = tensor.abs().max() / coarse
        return (tensor / step).round() * step if tensor.dim() == 2 else tensor

    tensors(rounded)(monkeypatch)
    run = write_run(source("smith"), tmp_path / "run")
    with pytest.raises(UserError, match="logits: mean divergence is"):
        gptsmith.export(run, to="gguf", out=tmp_path / "out", precision=precision)


def test_a_file_that_llama_cpp_refuses_makes_the_export_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(source("smith"), tmp_path / "run")
    written = gguf_format._tensors
    monkeypatch.setattr(
        gguf_format, "_tensors", lambda *given: (pair for pair in written(*given) if pair[0] != "output_norm.weight")
    )
    with pytest.raises(UserError, match=r"llama.cpp does not read model.gguf: .*output_norm"):
        gptsmith.export(run, to="gguf", out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
