"""A GGUF file is opened as the model that was written into it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.convert.families import Family, families, layered, nested, resolved
from gptsmith.convert.formats import FormatSettings, Source
from gptsmith.convert.formats.gguf import FILE
from gptsmith.convert.gguf_model import GGUFModel
from gptsmith.convert.gguf_pretokenizers import PRETOKENIZERS, all_names
from gptsmith.convert.gguf_tensors import known_kinds
from gptsmith.convert.load import load
from gptsmith.convert.open import open_model
from gptsmith.convert.probe_texts import TEXTS, spelt
from gptsmith.convert.state_dict import plain_weights
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.linear.grouped import GroupedLinearSettings, packed_weights
from gptsmith.model.transform import quantize
from tests.convert.sources import MODELS, TOKENIZERS, form, source, write_run

READABLE = [style for style in TOKENIZERS if style not in ("characters", "metaspace-first")]


def written(made: Source, folder: Path, precision: str = "float32") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    settings = form("gguf", precision)
    settings.check(made)
    settings.write(made, folder)
    return folder / FILE


def same_weights(one: GPT, other: GPT) -> bool:
    ours, theirs = plain_weights(one), plain_weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", MODELS)
def test_writing_then_reading_gives_the_same_model(name: str, tmp_path: Path) -> None:
    made = source(name)
    found = GGUFModel.open(written(made, tmp_path))
    assert resolved(found.shape) == resolved(made.model.config)
    assert same_weights(found.model(), made.model)
    assert (None if found.template is None else found.template.source) == (
        None if made.template is None else made.template.source
    )
    assert found.sampling() == pytest.approx(made.generation)
    texts = [*TEXTS, *spelt(made.tokenizer.special_tokens)]
    assert [found.tokenizer.encode(text) for text in texts] == [made.tokenizer.encode(text) for text in texts]
    for name_of in ("bos_ids", "eos_token_id", "special_ids", "vocab_size"):
        assert getattr(found.tokenizer, name_of) == getattr(made.tokenizer, name_of), name_of
    assert found.tokenizer.end_ids >= made.tokenizer.end_ids


def random_shape(family: Family, chance: random.Random) -> GPTConfig:
    """A shape of a family: every setting that its GGUF names is drawn."""
    heads = chance.choice((2, 4, 6))
    table: dict[str, Any] = {
        "vocab_size": 400, "context_length": chance.choice((16, 64, 100)), "embed_dim": heads * chance.choice((8, 12)),
        "num_layers": chance.choice((1, 2, 11)), "num_heads": heads, "tie_embeddings": chance.random() < 0.5,
        "feedforward": {"hidden_dim": chance.choice((16, 40))}, "norm": {"epsilon": chance.choice((1e-5, 1e-6, 3e-4))},
    }  # fmt: skip
    architecture = family.gguf
    assert architecture is not None
    table["feedforward"] |= {"activation": architecture.activation}
    if family.model_type != "gpt2":
        table["attention"] = {"num_kv_heads": chance.choice((1, 2, heads))}
        table["position"] = {
            "kind": "rotary", "base": chance.choice((1e2, 1e4, 5e5)), "scaling": random_scaling(family, chance)
        }  # fmt: skip
        if architecture.has_head_dim:
            table["head_dim"] = chance.choice((8, 10, 32))
    for group in ("attention", "feedforward"):
        table.setdefault(group, {})["bias"] = chance.random() < 0.5
    said = (nested(ours, value) for ours, value in architecture.fixed.items())
    for part in (family.fixed, special_settings(family, table, chance), *said):
        table = layered(table, part)
    return GPTConfig.parse(table)


def random_scaling(family: Family, chance: random.Random) -> dict[str, Any] | None:
    assert family.gguf is not None
    kind = chance.choice((None, *family.gguf.scalings))
    if kind is None:
        return None
    scaling = {"kind": kind, "factor": chance.choice((2.0, 7.5, 32.0))}
    return scaling if kind == "linear" else scaling | {"original_context_length": chance.choice((8, 64, 8192))}


def special_settings(family: Family, table: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The settings that no other family has."""
    layers = range(table["num_layers"])
    match family.model_type:
        case "mixtral" | "qwen3_moe":
            return {"feedforward": {"num_experts": chance.choice((3, 5)), "experts_per_token": chance.choice((1, 2))}}
        case "gpt_oss":
            window = {"kind": "sliding_window", "window_size": chance.choice((4, 200)), "layers": list(layers)[::2]}
            return {
                "attention": window, "feedforward": {"num_experts": chance.choice((3, 5)), "experts_per_token": 2}
            }  # fmt: skip
        case "gpt_neox":
            return {
                "attention": {"num_kv_heads": None}, "embed_dim": 16 * table["num_heads"],
                "parallel_residual": chance.random() < 0.5,
                "position": {"partial_rotary_factor": chance.choice((0.25, 0.5, 1.0))},
            }  # fmt: skip
        case "smollm3":
            rotates = [layer for layer in layers if (layer + 1) % 4]
            return {"position": {"layers": "all" if len(rotates) == len(layers) else rotates}}
        case "granite":
            return {
                "embedding_multiplier": chance.choice((1.0, 12.5)), "residual_multiplier": chance.choice((1.0, 0.22)),
                "logits_scaling": chance.choice((1.0, 8.0)), "attention": {"scale": chance.choice((0.25, 0.3))},
            }  # fmt: skip
        case "gemma2":
            window = {"kind": "sliding_window", "window_size": chance.choice((4, 15)), "layers": list(layers)[::2]}
            window |= {"scale": table["head_dim"] ** -0.5, "score_cap": chance.choice((3.0, 50.0))}
            return {
                "attention": window, "embedding_multiplier": table["embed_dim"] ** 0.5,
                "logits_cap": chance.choice((2.5, 30.0)),
            }  # fmt: skip
        case "gemma3_text":
            local = [layer for layer in layers if chance.random() < 0.5]
            window = {"kind": "sliding_window", "window_size": chance.choice((4, 15)), "layers": local} if local else {}
            window["scale"] = table["head_dim"] ** -0.5
            return {
                "position": {"local_base": chance.choice((1e2, 1e4)), "local_layers": local}, "attention": window,
                "embedding_multiplier": table["embed_dim"] ** 0.5,
            }  # fmt: skip
    return {}


@pytest.mark.parametrize("family", [family for family in families() if family.gguf], ids=lambda f: f.model_type)
def test_any_shape_of_a_family_comes_back(family: Family, tmp_path: Path) -> None:
    chance, tokenizer, tried = random.Random(5), TOKENIZERS["bpe"](), 0
    while tried < 6:
        shape = random_shape(family, chance)
        if "bias" in str(family.unsupported(shape)):
            shape = shape.model_copy(update={"feedforward": shape.feedforward.model_copy(update={"bias": False})})
        if "bias" in str(family.unsupported(shape)):
            shape = shape.model_copy(update={"attention": shape.attention.model_copy(update={"bias": False})})
        assert family.unsupported(shape) == []
        model = GPT(shape, seed=tried).eval()
        torch.manual_seed(tried)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
        made = Source("any", model, tokenizer, None, {}, family.model_type, "")
        found = GGUFModel.open(written(made, tmp_path / str(tried)))
        assert resolved(found.shape) == resolved(shape)
        assert same_weights(found.model(), model)
        tried += 1


@pytest.mark.parametrize("kind", [kind.name for kind in known_kinds().values()])
def test_each_type_of_tensor_is_read_as_the_library_dequantizes_it(kind: str, tmp_path: Path) -> None:
    """Matrices of random blocks; where scales come out infinite the file is refused."""
    number = gguf.GGMLQuantizationType[kind]
    block, num_bytes = gguf.GGML_QUANT_SIZES[number]
    chance = np.random.default_rng(3)
    made = source("smith", embed_dim=256, num_layers=1)
    original = gguf.quantize

    def blocks(data: np.ndarray, wanted: Any) -> np.ndarray:
        if data.ndim == 1:
            return original(data, wanted)
        raw = chance.integers(0, 64, (data.shape[0], data.shape[1] // block * num_bytes), np.uint8)
        return raw if number > 1 and kind != "BF16" else original(data, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf, "quantize", blocks)
        patch.setattr("gptsmith.convert.formats.gguf._kept", lambda name, data, _: kept(name, data, blocks, number))
        path = written(made, tmp_path)
    found = GGUFModel.open(path)
    reader = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for name in ("blk.0.attn_v.weight", "token_embd.weight"):
        tensor = reader[name]
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        if np.isfinite(expected).all():
            assert tensor.tensor_type == number
            assert np.array_equal(found.tensors.read(name).float().numpy(), expected)
        else:
            with pytest.raises(UserError, match="not finite"):
                found.tensors.read(name)


def kept(name: str, data: np.ndarray, blocks: Any, number: Any) -> tuple[np.ndarray, Any]:
    is_block = data.ndim == 2 and data.shape[1] % gguf.GGML_QUANT_SIZES[number][0] == 0
    return (blocks(data, number), number) if is_block else (data, gguf.GGMLQuantizationType.F32)


def test_a_file_serves_as_a_run(tmp_path: Path) -> None:
    made = source("llama3")
    path = written(made, tmp_path / "llama", "q8_0")
    opened = open_model(path)
    assert (opened.made_by, opened.step, opened.dtype) == ("import", 0, "auto")
    assert opened.model_files == [path]
    loaded = gptsmith.load(path)
    assert loaded.reply([{"role": "user", "content": "Who?"}], max_tokens=4, temperature=0) == gptsmith.load(
        path.parent
    ).reply([{"role": "user", "content": "Who?"}], max_tokens=4, temperature=0)
    assert gptsmith.info(path)["num_layers"] == 3
    figures = gptsmith.import_model(path, out=tmp_path / "run")
    assert figures["certificate"] in ("passed", "not run")
    assert same_weights(gptsmith.load(tmp_path / "run").model, loaded.model)


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{% for %}", "is not sound Jinja: .*generate MODEL continues a text"),
        ("{{ messages | no_such_filter }}", "No filter named 'no_such_filter'.*generate MODEL continues"),
        ("{{ no_such_function(messages) }}", "'no_such_function' is undefined.*generate MODEL continues"),
        ("{% include 'another' %}", "does not take this conversation: no loader"),
    ],
)
def test_a_template_that_needs_what_we_do_not_have_is_named_when_it_is_used(
    template: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, chat_template=template)
    loaded = gptsmith.load(written(source("smith", num_layers=1), tmp_path))
    assert loaded.generate("The smith", max_tokens=2)
    with pytest.raises(UserError, match=named) as caught:
        loaded.reply([{"role": "user", "content": "Who?"}], max_tokens=2)
    assert "\n" not in str(caught.value)


def test_a_folder_of_two_models_names_them(tmp_path: Path) -> None:
    path = written(source("gpt2"), tmp_path)
    path.with_name("other.gguf").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"holds 2 models: name one of model.gguf, other.gguf"):
        open_model(tmp_path)


def changed(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Other values of the keys whose names end so."""
    add = gguf.GGUFWriter.add_key_value

    def spoilt(self: Any, key: str, value: Any, *rest: Any, **more: Any) -> None:
        given = changes.get(key.rpartition(".")[2], value)
        add(self, key, given(value) if callable(given) else given, *rest, **more)

    monkeypatch.setattr(gguf.GGUFWriter, "add_key_value", spoilt)


WRONG = {
    "pre": ("smith", {"pre": "klingon"}, rf"tokenizer.ggml.pre='klingon' is not known \(known: {all_names()[0]}, .*"),
    "tokenizer": ("smith", {"model": "bert"}, "tokenizer.ggml.model='bert' is not known .*gpt2, .*llama"),
    "architecture": (
        "smith", {"architecture": "mamba"}, r"architecture='mamba' is not known \(known: gemma2, gemma3, .*qwen3moe,"
    ),
    "twice": ("smith", {"tokens": lambda was: [*was[:-1], was[0]]}, "holds no token, or one twice"),
    "types": ("smith", {"token_type": lambda was: was[:-1]}, "tokens have .* types"),
    "scores": ("llama2", {"scores": lambda was: was[:-1]}, "tokens have .* scores"),
    "infinite": ("llama2", {"scores": lambda was: [float("nan")] * len(was)}, "not finite"),
    "merges": ("smith", {"merges": lambda was: [*was, "never there"]}, "the merge 'never there' is no pair"),
    "head width": ("smith", {"dimension_count": 8}, "rotary positions of a part of a head"),
    "layers": ("smith", {"block_count": 9_999}, "9,999 layers, and"),
    "wide": ("smith", {"embedding_length": 32}, "weights and config do not agree"),
    "scaling": ("llama-linear", {"factor": 0.0}, "rope.scaling.factor"),
    "Gemma's layers": ("gemma3", {"block_count": 2**31}, "block_count=2147483648 is not a whole number from 1 to"),
    "Gemma's heads": ("gemma3", {"head_count": 0}, "attention.head_count=0 is not a whole number"),
    "Gemma's keys": ("gemma3", {"key_length": 0, "value_length": 0, "dimension_count": 0}, "key_length=0 is not a"),
    "Gemma's pattern": ("gemma3", {"sliding_window_pattern": [True]}, "sliding_window_pattern is no number above 0"),
    "SmolLM3's layers": ("smollm3", {"block_count": 2**31}, "block_count=2147483648 is not a whole number"),
    "NeoX's heads": ("gpt_neox", {"head_count": 0}, "attention.head_count=0 is not a whole number"),
    "NeoX's rotation": ("gpt_neox", {"dimension_count": 99}, r"rope.dimension_count=99 \(allowed: 1 to 16"),
    "no experts": ("qwen3_moe", {"expert_count": 0}, "num_experts"),
    "more experts": ("qwen3_moe", {"expert_count": 6}, "weights and config do not agree .*ffn_gate_exps.weight is"),
    "no end": ("smith", {"eos_token_id": 2**31}, "no token that ends a text"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_key_is_named_in_one_line(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, changes, message = WRONG[fault]
    changed(monkeypatch, **changes)
    path = written(source(name), tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_rows_of_the_embedding_without_tokens_are_kept_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(monkeypatch, tokens=lambda was: was[:-5], token_type=lambda was: was[:-5])
    made = source("smith")
    found = GGUFModel.open(written(made, tmp_path))
    assert found.shape.vocab_size == made.model.config.vocab_size == found.tokenizer.vocab_size + 5
    assert "the others are kept, and stand for no text" in capsys.readouterr().err


def test_more_tokens_than_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = ["<more>", *(f"<more{number}>" for number in range(9))]
    changed(monkeypatch, tokens=lambda was: [*was, *more], token_type=lambda was: [*was, *[1] * 10])
    with pytest.raises(UserError, match=r"tokens and token_embd.weight .* rows: they do not match"):
        open_model(written(source("smith"), tmp_path))


def test_a_model_in_several_files_is_one_model(tmp_path: Path) -> None:
    made = source("smith")
    written(made, tmp_path / "whole")
    reader = gguf.GGUFReader(tmp_path / "whole" / FILE)
    (tmp_path / "split").mkdir()
    paths = split(reader, tmp_path / "split", 3)
    for path in (paths[0], paths[2], tmp_path / "split"):
        assert same_weights(GGUFModel.open(Path(path)).model() if Path(path).is_file() else gptsmith.load(path).model,
                            made.model)  # fmt: skip
    paths[1].unlink()
    with pytest.raises(UserError, match=r"one of 3 files of a model, and m-00002-of-00003.gguf is not beside it"):
        open_model(paths[0])


def split(reader: gguf.GGUFReader, folder: Path, count: int) -> list[Path]:
    """The file in several, as llama.cpp's gguf-split writes them: all keys in the first."""
    paths = [folder / f"m-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    for number, path in enumerate(paths):
        writer = gguf.GGUFWriter(path, "qwen3")
        for key, field in reader.fields.items():
            if number == 0 and not key.startswith("GGUF.") and key != "general.architecture":
                kinds = field.types
                writer.add_key_value(key, field.contents(), kinds[0], kinds[-1] if len(kinds) > 1 else None)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[number::count]:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


def test_a_model_of_weights_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    made = source("smith")
    with torch.no_grad():
        made.model.final_norm.weight[3] = float("nan")  # type: ignore[operator, index, union-attr]
    path = written(made, tmp_path)
    with pytest.raises(UserError, match=r"output_norm.weight holds a number that is not finite"):
        gptsmith.load(path)


def test_each_way_to_split_text_gives_a_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pretokenizer in PRETOKENIZERS:
        with pytest.MonkeyPatch.context() as patch:
            changed(patch, pre=pretokenizer.names[0])
            found = GGUFModel.open(written(source("smith"), tmp_path))
        for text in TEXTS:
            assert found.tokenizer.decode(found.tokenizer.encode(text)) == text, pretokenizer.names[0]


BLOCKS = {"q4_0": ["attention.*"], "q4_1": ["blocks.1.attention.query"], "q5_0": ["feedforward.output"],
          "q5_1": ["feedforward.*"], "q8_0": ["embedding", "head"]}  # fmt: skip


def keeping_form() -> FormatSettings:
    """The format, without a precision that would take the place of blocks."""
    return type(form("gguf")).parse({"kind": "gguf"}, "format")


def in_blocks(name: str, formats: dict[str, list[str]]) -> Source:
    made = source(name)
    settings = GroupedLinearSettings.parse({"formats": formats})
    return replace(made, model=quantize(made.model, settings))


@pytest.mark.parametrize("name", ["smith-tied", "llama2", "phi3", "gpt2", "mixtral"])
def test_weights_in_blocks_go_out_and_come_in_byte_for_byte(name: str, tmp_path: Path) -> None:
    """Rows that rotate together, several matrices in one tensor, all experts in one, a tied embedding."""
    tied = source(name).model.config.tie_embeddings
    formats = {form: [each for each in names if each != "head" or not tied] for form, names in BLOCKS.items()}
    made = in_blocks(name, {form: names for form, names in formats.items() if names})
    keeping = keeping_form()
    assert keeping.keeps_blocks
    assert not form("gguf").keeps_blocks
    assert keeping.bound(made) == "q8_0"
    (tmp_path / "one").mkdir()
    keeping.write(made, tmp_path / "one")
    found = GGUFModel.open(tmp_path / "one" / FILE)
    model = found.model()
    there, here = packed_weights(made.model), packed_weights(model)
    # Matrices that are one tensor there must be in one format: those of block 1's attention are not.
    apart = {"blocks.1.attention." + part + ".weight" for part in ("query", "key", "value")}
    assert there.keys() - here.keys() == (apart if name in ("gpt2", "phi3") else set())
    for each in here:
        assert there[each].form is here[each].form
        assert torch.equal(there[each].weight, here[each].weight), each
    plain, other = plain_weights(made.model), plain_weights(model)
    for each in plain:
        torch.testing.assert_close(other[each], plain[each], rtol=1e-3, atol=1e-4)
    # A run of it, as an import makes one, keeps them, and so does the file that is exported from that.
    run = write_run(replace(made, model=model), tmp_path / "run")
    again = load(run, device="cpu", dtype="float32", keeps_blocks=True)
    (tmp_path / "two").mkdir()
    keeping.write(replace(made, model=again.model), tmp_path / "two")
    assert (tmp_path / "one" / FILE).read_bytes() == (tmp_path / "two" / FILE).read_bytes()


def test_a_dtype_that_is_named_dequantizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = in_blocks("llama2", {"q4_1": ["attention.*", "feedforward.*"], "q8_0": ["embedding"]})
    keeping_form().write(made, tmp_path)
    path, ids = tmp_path / FILE, torch.arange(9)[None]
    floats = load(path, device="cpu", dtype="float32").model
    assert floats.config.linear.kind == "dense"
    monkeypatch.setattr("gptsmith.model.linear.grouped.processor_has_kernel", lambda: True)
    kept = load(path, device="cpu").model
    assert kept.config.linear.kind == "grouped"
    with torch.no_grad():
        torch.testing.assert_close(kept(ids), floats(ids), rtol=1e-4, atol=1e-4)
    monkeypatch.setattr("gptsmith.model.linear.grouped.processor_has_kernel", lambda: False)
    assert load(path, device="cpu").model.config.linear.kind == "dense"
    monkeypatch.setattr("gptsmith.convert.load.free_bytes", lambda _: None)
    assert load(path, device="cpu").model.config.linear.kind == "grouped"


def test_blocks_are_the_mapped_file(tmp_path: Path) -> None:
    """Their bytes are no second time in memory, and writing to them leaves the file alone."""
    made = in_blocks("smith", {"q8_0": ["attention.*", "feedforward.*", "embedding", "head"]})
    keeping_form().write(made, tmp_path)
    before = (tmp_path / FILE).read_bytes()
    model = GGUFModel.open(tmp_path / FILE).model()
    mapped = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()
              if line.endswith(str(tmp_path / FILE))]  # fmt: skip
    for name, module in packed_weights(model).items():
        place = module.weight.data_ptr()
        assert any(int(begin, 16) <= place < int(end, 16) for begin, end in mapped), name
    with torch.no_grad():
        model.get_parameter("blocks.0.attention.output.weight").zero_()
    assert (tmp_path / FILE).read_bytes() == before


def test_a_scale_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    made = in_blocks("smith", {"q4_0": ["attention.output"]})
    made.model.get_parameter("blocks.1.attention.output.weight")[3, 1] = 0x7C  # infinity
    keeping_form().write(made, tmp_path)
    with pytest.raises(UserError, match=r"blk\.1\.attn_output\.weight holds a number that is not finite"):
        GGUFModel.open(tmp_path / FILE).model()
