"""The decoder in compiled code computes what the model's own modules do."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from gptsmith.base import console
from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.generate import forward
from gptsmith.generate.engine import Engine
from gptsmith.generate.inference_model import inference_model
from gptsmith.generate.kv_cache import PagedKVCache, Segment
from gptsmith.generate.kv_memory import KVCacheMemory
from gptsmith.generate.native import checking, compiling, known, products, programs, rows, step, threads
from gptsmith.generate.native import decoder as decoders
from gptsmith.generate.native.integer_products import INPUT_BYTES
from gptsmith.generate.native.packing import packed_floats, packed_groups
from gptsmith.generate.request import OutputChunk, Request
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.feedforward import gated, mlp
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import FORMATS, Groups
from gptsmith.model.kernels.block_rounding import quantize_blocks

SMALL = {"vocab_size": 97, "context_length": 160, "embed_dim": 64, "num_layers": 2, "num_heads": 4}
LLAMA: dict[str, Any] = {**SMALL, "attention": {"kind": "full", "num_kv_heads": 2, "qk_norm": True}}
GPT2: dict[str, Any] = {
    **SMALL,
    "attention": {"kind": "full", "bias": True, "qk_norm": False},
    "position": {"kind": "learned"},
    "feedforward": {"kind": "mlp", "activation": "gelu_tanh", "bias": True},
    "norm": {"kind": "layernorm"},
    "tie_embeddings": True,
}
FORMS = {"q4_1": ["attention.*"], "q5_0": ["feedforward.*"], "q8_0": ["embedding"]}
MODELS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "gpt2": GPT2,
    "gelu": {**GPT2, "feedforward": {"kind": "mlp", "activation": "gelu"}, "position": {"kind": "sinusoidal"}},
    "relu": {**GPT2, "feedforward": {"kind": "mlp", "activation": "relu"}, "position": {"kind": "none"}},
    "relu2": {**GPT2, "feedforward": {"kind": "mlp", "activation": "relu2"}},
    "geglu": {**LLAMA, "feedforward": {"kind": "gated", "activation": "geglu"}},
    "windows": {**LLAMA, "attention": {"kind": "sliding_window", "window_size": 5}},
    "partly rotated": {**LLAMA, "position": {"kind": "rotary", "partial_rotary_factor": 0.5, "layers": [1]}},
    "multipliers": {**LLAMA, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    "int8": {**LLAMA, "linear": {"kind": "int8"}},
    "blocks": {
        **LLAMA,
        "linear": {"kind": "grouped", "formats": FORMS},
        "feedforward": {"kind": "gated", "hidden_dim": 96},
    },
}
CAPPED: dict[str, Any] = {"kind": "full", "num_kv_heads": 2, "qk_norm": True, "score_cap": 0.5}
MODELS |= {
    "gemma2": {**LLAMA, "attention": CAPPED, "logits_cap": 2.0, "norm_placement": "sandwich", "logits_scaling": 0.3},
    "output norms": {**LLAMA, "norm_placement": "output"},
    "gpt": {**GPT2, "norm_placement": "post"},
    "gpt-neox": {**GPT2, "position": {"kind": "rotary", "partial_rotary_factor": 0.5}, "parallel_residual": True},
    "both": {**GPT2, "norm_placement": "post", "parallel_residual": True},
    "alibi": {**GPT2, "position": {"kind": "alibi"}},
    "sinks": {**LLAMA, "attention": {"kind": "sliding_window", "window_size": 5, "sinks": True, "score_cap": 2.0}},
}
MIXTURE: dict[str, Any] = {"kind": "experts", "num_experts": 20, "experts_per_token": 3, "hidden_dim": 32}
SHARES = {"num_shared_experts": 2, "shared_gate": True, "renormalize": False, "balance_rate": 0.001}
MODELS |= {
    "experts": {**LLAMA, "feedforward": MIXTURE},
    "shared experts": {**LLAMA, "feedforward": {**MIXTURE, **SHARES}},
    "experts of two layers": {**GPT2, "feedforward": {**MIXTURE, "activation": "gelu", "num_shared_experts": 1}},
    "int8 experts": {**LLAMA, "linear": {"kind": "int8"}, "feedforward": {**MIXTURE, **SHARES}},
    "experts in blocks": {**LLAMA, "linear": {"kind": "grouped", "formats": FORMS}, "feedforward": MIXTURE},
    "gpt-oss": {
        **LLAMA,
        "attention": {"kind": "sliding_window", "window_size": 5, "layers": [0], "sinks": True, "bias": True},
        "feedforward": {**MIXTURE, "activation": "swiglu_oai", "bias": True},
    },
    "clamped": {**LLAMA, "feedforward": {"kind": "gated", "activation": "swiglu_oai"}},
}
SHARED = [5, 6, 7, 8, 9, 10]
PROMPTS = [[1, 2, 3], [*SHARED, 11], [*SHARED, 12, 13], list(range(1, 90)), [4]]
GREEDY = SamplingSettings(temperature=0)


def a_model(name: str) -> GPT:
    """A model whose norms, biases and output layers do something."""
    model = GPT(GPTConfig.parse(MODELS[name]), seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    for place, parameter in model.named_parameters():
        if parameter.is_floating_point() and "scale" not in place:
            with torch.no_grad():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def an_engine(model: GPT, engine: str) -> Engine:
    settings = EngineSettings.parse({"engine": engine, "num_speculative_tokens": 2})
    return Engine(model, settings=settings, int8_matmul=False)


def texts(engine: Engine, prompts: Sequence[Sequence[int]], num_tokens: int = 24) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in prompts]

    def add(ids: list[int], chunk: OutputChunk) -> None:
        ids += [token.id for token in chunk.tokens]

    for ids, prompt in zip(found, prompts, strict=True):
        engine.submit(Request(list(prompt), num_tokens, GREEDY), partial(add, ids))
    while engine.has_work:
        engine.step()
    return found


@pytest.mark.parametrize("name", MODELS)
def test_texts_are_those_of_the_modules(name: str) -> None:
    model = a_model(name)
    native, plain = an_engine(model, "native"), an_engine(model, "torch")
    assert native.forwards.description == "decoded by compiled code"
    assert isinstance(native.forwards.of(1), decoders.NativeDecoder)
    assert texts(native, PROMPTS) == texts(plain, PROMPTS)


@torch.inference_mode()
def test_the_head_of_an_int8_model_is_quantized_with_a_scale_for_32_weights() -> None:
    model = a_model("int8")
    head = model.head_weight.clone()
    engine = Engine(model, settings=EngineSettings(engine="native"))
    assert torch.equal(model.head_weight, head)  # the model itself stays as it is
    blocks = FORMATS["q8_0"].weights(quantize_blocks(head, FORMATS["q8_0"]))
    assert torch.equal(engine.model.head_weight, blocks.view_as(head))
    hidden = torch.randn(3, model.config.embed_dim, generator=torch.Generator().manual_seed(0))
    wanted = model.final_norm(hidden) @ blocks.view_as(head).T
    torch.testing.assert_close(engine.forwards.of(3).logits(hidden), wanted, atol=1e-3, rtol=0)
    exact = Engine(model, settings=EngineSettings(engine="native"), int8_matmul=False)
    assert exact.model.head.weight is model.head.weight


def logits(model: GPT, num_threads: int, counts: Sequence[int]) -> Tensor:
    """The logits of tokens that are read in passes of so many."""
    decoder = decoders.NativeDecoder(model, num_threads, 32)
    memory = KVCacheMemory.of(model.config, torch.float32, EngineSettings(kv_block_size=8))
    cache = PagedKVCache(model.config, memory, device=model.device, max_num_seqs=1)
    table, found, start = cache.new_table(), [], 0
    for count in counts:
        assert cache.extend(table, start, start + count)
        ids = range(start, start + count)
        found.append(decoder.logits(decoder.hidden(ids, [Segment(table, start, count)], cache)))
        start += count
    decoder.close()
    return torch.cat(found)


@pytest.mark.parametrize("name", ["llama", "windows", "int8", "shared experts", "int8 experts"])
@torch.inference_mode()
def test_logits_depend_neither_on_the_rows_beside_them_nor_on_threads(name: str) -> None:
    model = a_model(name)
    alone = logits(model, 1, [1] * 30)
    assert (alone - model(torch.tensor([list(range(30))]))[0]).abs().max() <= 1e-4
    for num_threads in (1, 3):
        assert torch.equal(logits(model, num_threads, [30]), alone)


def product(matrix: Any, x: Tensor) -> Tensor:
    """x W' by compiled code."""
    num_rows, dim = x.shape
    described, inputs = numpy.zeros(1, products.MATRIX), numpy.zeros(1, products.INPUTS)
    for name, value in matrix.fields.items():
        described[0][name] = value
    for name, tensor in matrix.tensors.items():
        described[0][name] = tensor.data_ptr()
    groups = torch.zeros(num_rows, dim // 32, INPUT_BYTES, dtype=torch.int8)
    inputs[0] = (groups.data_ptr(), x.data_ptr(), 4 * dim)
    described[0]["kernel"] = products.KERNELS[matrix.fields["bits"], matrix.fields.get("group", 32)].address
    out = torch.zeros(num_rows, 16 * int(described[0]["num_tiles"]))
    multiply_by_three(described, inputs, num_rows, out.data_ptr(), 4 * out.shape[1], dim)
    return out


@compiling.kept
def multiply_by_three(matrices: Any, inputs: Any, num_rows: int, out: int, stride: int, dim: int) -> None:
    """The shares of three threads, one after the other."""
    for row in range(num_rows):
        products.quantize(row, inputs[0], inputs[0].floats + row * 4 * dim, dim)
    for thread in range(3):
        products.multiply(matrices[0], inputs[0], 0, 0, num_rows, out, stride, thread, 3)


@pytest.mark.parametrize("name", FORMATS)
def test_products_of_blocks_are_as_good_as_those_of_floats(name: str) -> None:
    form, generator = FORMATS[name], torch.Generator().manual_seed(0)
    blocks = torch.randint(256, (40, 256 // form.block_size, form.block_bytes), dtype=torch.uint8, generator=generator)
    for place in form.scale_places:  # small numbers; the last of three tiles is half empty
        blocks[..., place + 1] = blocks[..., place + 1] & 128 | 30
    packed = blocks.flatten(1)
    x = torch.randn(6, 256, generator=generator) * torch.logspace(-20, 4, 6)[:, None]
    x[2, 32:64] = 0
    groups = form.groups(packed)
    found = product(packed_groups(groups), x)
    wanted = x.double() @ form.weights(packed).double().T
    terms = groups.integers * groups.scale.abs()[..., None] + groups.offset.abs()[..., None]
    assert ((found[:, :40] - wanted).abs() <= 1e-5 * (x.abs() @ terms.flatten(1).T)).all()
    assert not found[:, 40:].any()


@pytest.mark.parametrize("num_rows", [1, 2, 4, 5, 8, 9, 12, 15])
def test_a_row_does_not_depend_on_how_many_read_the_weights_with_it(num_rows: int) -> None:
    form, generator = FORMATS["q4_1"], torch.Generator().manual_seed(0)
    matrix = packed_groups(form.groups(quantize_blocks(torch.randn(40, 256, generator=generator), form)))
    x = torch.randn(num_rows, 256, generator=generator)
    assert torch.equal(product(matrix, x), torch.cat([product(matrix, row[None]) for row in x]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_floats(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(40, 96, generator=generator).to(dtype), torch.randn(6, 96, generator=generator)
    found = product(packed_floats(weight), x)[:, :40]
    torch.testing.assert_close(found, x @ weight.float().T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", known.ACTIVATIONS)
def test_activations_of_large_and_small_numbers(name: str) -> None:
    gate, x = torch.linspace(-20, 20, 96).view(2, 48), torch.linspace(12, -12, 96).view(2, 48)
    wanted = gated.ACTIVATIONS[name](gate, x) if name in gated.ACTIVATIONS else mlp.ACTIVATIONS[name](x)
    operation, address = numpy.zeros(1, step.OPERATION), gate.data_ptr() if name in gated.ACTIVATIONS else 0
    for field, value in {
        "number": known.ACTIVATIONS[name],
        "source": address,
        "target": x.data_ptr(),
        "dim": 48,
    }.items():
        operation[0][field] = value
    activate_two_rows(operation)
    torch.testing.assert_close(x, wanted, rtol=1e-5, atol=1e-5)


@compiling.kept
def activate_two_rows(operations: Any) -> None:
    rows.activate_columns(2, operations[0], 0, 48)


def test_the_largest_integers_do_not_overflow() -> None:
    groups = Groups(torch.full((16, 1, 1024), 255, dtype=torch.uint8), torch.ones(16, 1), torch.full((16, 1), -128.0))
    found = product(packed_groups(groups), torch.ones(1, 1024))
    torch.testing.assert_close(found, torch.full((1, 16), 127.0 * 1024))


def test_what_is_not_known_is_named_and_left_to_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {"kind": "full", "num_kv_heads": 2, "qk_norm": True, "qk_norm_per_head": False}
    model = GPT(GPTConfig.parse({**LLAMA, "attention": whole, "position": {"kind": "local_rotary"}}))
    with pytest.raises(UserError, match=r"model\.attention\.qk_norm_per_head=False, model\.position=local_rotary"):
        an_engine(model, "native")
    monkeypatch.setattr(forward, "SMALL_BYTES", 0)
    engine = an_engine(model, "auto")
    assert engine.forwards.problem == "model.attention.qk_norm_per_head=False, model.position=local_rotary"
    assert texts(engine, PROMPTS) == texts(an_engine(model, "torch"), PROMPTS)


def test_a_cache_of_integers_is_that_of_the_modules() -> None:
    model = a_model("windows")
    caches = {}
    for name in ("native", "torch"):
        settings = EngineSettings.parse({"engine": name, "kv_cache_dtype": "int8", "kv_block_size": 8})
        engine = Engine(model, settings=settings, int8_matmul=False)
        found = texts(engine, PROMPTS)
        caches[name] = (found, engine.kv_cache.keys[1], engine.kv_cache.values[0])
    assert caches["native"][0] == caches["torch"][0]
    for ours, theirs in zip(caches["native"][1:], caches["torch"][1:], strict=True):
        # A number that lies between two integers may become either.
        assert (ours.blocks.int() - theirs.blocks.int()).abs().max() <= 1
        assert (ours.blocks != theirs.blocks).float().mean() < 0.001
        torch.testing.assert_close(ours.scales, theirs.scales)


def test_experts_in_blocks_that_no_token_chooses_can_be_packed() -> None:
    model = a_model("experts in blocks")
    packed, ids = inference_model(model), torch.tensor([[5]])  # packed by a pass that has gradients
    torch.testing.assert_close(packed(ids), model(ids), atol=0.1, rtol=0.05)


def test_what_is_packed_already_is_left_to_the_modules() -> None:
    with pytest.raises(UserError, match="packed for PyTorch already"):
        an_engine(inference_model(a_model("int8")), "native")


def test_a_processor_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "SMALL_BYTES", 0)
    monkeypatch.setitem(known.ACTIVATIONS, "swiglu", rows.GELU)
    engine = an_engine(a_model("llama"), "auto")
    assert "its logits differ by" in str(engine.forwards.problem)
    assert texts(engine, PROMPTS[:1]) == texts(an_engine(a_model("llama"), "torch"), PROMPTS[:1])


def test_a_compiler_that_refuses_is_said_once_and_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("LLVM does not know\nthis processor")

    monkeypatch.setattr(forward, "SMALL_BYTES", 0)
    monkeypatch.setattr(compiling, "FOLDER", tmp_path / "compiled")
    monkeypatch.setattr(decoders, "compile_start", refuse)
    engines = [an_engine(a_model("llama"), "auto") for _ in range(2)]
    forward.compile_ahead("auto")
    why = "numba cannot compile here: RuntimeError: LLVM does not know this processor"
    assert engines[0].forwards.problem == why
    assert capsys.readouterr().err.count(why) == 1
    assert texts(engines[0], PROMPTS[:1]) == texts(an_engine(a_model("llama"), "torch"), PROMPTS[:1])
    with pytest.raises(UserError, match="cannot run this model: numba cannot compile here"):
        an_engine(a_model("llama"), "native")


def test_damaged_files_are_compiled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept_files, whole = tmp_path / "compiled", checking.checked_decoder
    (kept_files / "step").mkdir(parents=True)

    def read(model: GPT, settings: EngineSettings) -> decoders.NativeDecoder:
        if kept_files.exists():
            with compiling.compilation():
                raise EOFError("Ran out of input")
        return whole(model, settings)

    monkeypatch.setattr(compiling, "FOLDER", kept_files)
    monkeypatch.setattr(checking, "checked_decoder", read)
    assert an_engine(a_model("llama"), "native").forwards.is_native


def test_an_error_that_is_not_the_compilers_is_not_called_so_and_keeps_what_was_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a mistake of ours")

    monkeypatch.setattr(forward, "SMALL_BYTES", 0)
    monkeypatch.setattr(compiling, "FOLDER", tmp_path)
    monkeypatch.setattr(programs, "packed_floats", fail)
    engine = an_engine(a_model("llama"), "auto")
    assert engine.forwards.problem == "compiled code failed: AssertionError: a mistake of ours"
    assert "PyTorch decodes: compiled code failed: AssertionError" in capsys.readouterr().err
    assert tmp_path.exists()


def test_without_a_compiler_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(forward, "SMALL_BYTES", 0)
    with pytest.raises(MissingExtraError, match=r"gptsmith\[native\]"):
        an_engine(a_model("llama"), "native")
    assert "gptsmith[native]" in str(an_engine(a_model("llama"), "auto").forwards.problem)


def test_compiling_is_said_where_nothing_is_kept_yet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    forward.compile_ahead("auto")
    capsys.readouterr()
    forward.compile_ahead("auto")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(compiling, "FOLDER", tmp_path)
    console.note_once.cache_clear()
    forward.compile_ahead("torch")
    assert capsys.readouterr().err == ""
    forward.compile_ahead("auto")
    assert "compiling the decoder for this processor" in capsys.readouterr().err


def test_kernels_of_all_formats_are_compiled_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = {key: compiling.Kernel(lambda: None, None) for key in products.KERNELS}
    made: list[compiling.Kernel] = []
    address = property(lambda kernel: made.append(kernel) or 1)
    monkeypatch.setattr(compiling.Kernel, "address", address)
    monkeypatch.setattr(checking.products, "KERNELS", kernels)
    monkeypatch.setattr(checking, "checked_decoder", lambda *_: SimpleNamespace(close=lambda: None))
    forward.compile_ahead("auto")
    assert made == list(kernels.values())


def test_a_small_model_needs_none() -> None:
    forwards = an_engine(a_model("llama"), "auto").forwards
    assert forwards.description == "decoded by PyTorch (a small model needs none)"
    assert not forwards.is_native


def test_threads_sleep_and_wake_and_end_with_their_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    engine = an_engine(a_model("llama"), "native")
    first = texts(engine, PROMPTS[:1], 2)
    native = engine.forwards.of(1)
    assert isinstance(native, decoders.NativeDecoder)
    while native.num_asleep < 2:
        threading.Event().wait(0.01)
    assert texts(engine, PROMPTS[:1], 2) == first
    assert threading.active_count() == before + 2
    del engine, native
    gc.collect()
    assert threading.active_count() == before


def test_a_counter_is_waited_for_in_vain() -> None:
    counters = numpy.zeros(2, numpy.int64)
    assert not reaches_one(counters.ctypes.data)
    threads.start(counters.ctypes.data)
    assert reaches_one(counters.ctypes.data)


@compiling.kept
def reaches_one(counter: int) -> bool:
    return threads.reaches(counter, 1, 3)


DECODED = """
import sys
from gptsmith.compress.forms import in_forms, roundable
from gptsmith.generate.engine import Engine
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
model = GPT(GPTConfig(vocab_size=512, context_length=64, embed_dim=64, num_layers=1, num_heads=2), seed=1).eval()
model = in_forms(model, dict.fromkeys(roundable(model), sys.argv[1]))
Engine(model, BytesTokenizerSettings().train(list, 0), settings=EngineSettings(engine="native"))
"""


@pytest.mark.story
def test_what_two_processes_have_kept_is_not_mixed_up(tmp_path: Path) -> None:
    """The second finds what all models share, and compiles the products of its own format."""
    for form in ("q8_0", "q4_0", "q5_1"):
        ended = subprocess.run(
            [sys.executable, "-c", DECODED, form],
            env={**os.environ, "GPTSMITH_CACHE": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr


def test_functions_that_one_function_makes_have_names_of_their_own() -> None:
    def made(number: int) -> Any:
        @compiling.compiled
        def plus(x: int) -> int:
            return x + number

        return plus

    assert len({made(number).py_func.__qualname__ for number in range(3)}) == 3
