"""Adapters go out to PEFT and come in from it, and both compute the same with them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from gptsmith.base.errors import UserError
from gptsmith.convert.adapters import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE_SHA256,
    PREFIX,
    A,
    AdapterFolder,
    B,
    adapter_config,
    adapter_tensors,
    fingerprint,
    require_linear,
    their_adapters,
)
from gptsmith.convert.families import Family
from gptsmith.convert.huggingface import ModelFolder
from gptsmith.convert.state_dict import plain_weights
from gptsmith.model.gpt import GPT
from gptsmith.model.linear.lora import LoraLinear, LoraLinearSettings
from gptsmith.model.presets import preset
from gptsmith.model.transform import with_adapters, without_adapters
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

SHARED = {"vocab_size": 260, "bos_token_id": None, "eos_token_id": 256}
GPT1 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, **SHARED}
LLAMA = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 40, "max_position_embeddings": 32, "head_dim": 8, **SHARED,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": GPT1,
    "openai-gpt": GPT1,
    "gpt_neox": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "max_position_embeddings": 32,
        **SHARED,
    },
    "llama": LLAMA | {"tie_word_embeddings": False},
    "qwen3": LLAMA | {"tie_word_embeddings": True},
}
ALL = ["attention.*", "feedforward.*"]
IDS = torch.randint(256, (2, 20), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder of each family's, as Transformers writes it, with random weights, biases and gains."""
    folder = tmp_path_factory.mktemp("bases")

    def base(model_type: str) -> Path:
        target = folder / model_type
        if not target.exists():
            config = transformers.AutoConfig.for_model(model_type, **CONFIGS[model_type])
            write_base(transformers.AutoModelForCausalLM.from_config(config), target)
        return target

    return base


def write_base(model: Any, folder: Path, *, seed: int = 3) -> None:
    randomize(model.named_parameters(), 0.2, seed=seed)
    model.eval().save_pretrained(folder)
    BytesTokenizerSettings().train(list, 0).save(folder)


@torch.no_grad()
def randomize(parameters: Any, deviation: float, *, seed: int = 7) -> None:
    """Draws all of them, gains around 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in parameters:
        drawn = torch.randn(parameter.shape, generator=generator) * deviation
        parameter.copy_(drawn + 1 if parameter.dim() == 1 and name.endswith("weight") else drawn)


def randomize_adapters(model: Any) -> None:
    randomize(((name, parameter) for name, parameter in model.named_parameters() if "lora_" in name), 0.3)


def opened(folder: Path) -> tuple[Any, Family]:
    found = ModelFolder.open(folder)
    return found.model(), found.family


def theirs(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def laid_by_peft(adapter: Path, base: Path) -> Any:
    """The base with the adapter, as PEFT reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapper: Any = peft.PeftModel
        return wrapper.from_pretrained(theirs(base), str(adapter)).eval()


def adapter_of_peft(base: Path, folder: Path, **settings: Any) -> Any:
    """Writes an adapter with random weights as PEFT does; returns the model with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(**{"r": 3, "lora_alpha": 7, "task_type": "CAUSAL_LM", **settings})
        wrapped: Any = peft.get_peft_model(theirs(base), config).eval()
        randomize_adapters(wrapped)
        wrapped.save_pretrained(folder)
    return wrapped


def adapted(model: Any, **settings: Any) -> Any:
    """A model of ours with random adapters."""
    made = with_adapters(model, LoraLinearSettings.parse({"rank": 3, "alpha": 7.0, **settings}))
    randomize_adapters(made)
    return made.eval()


def write_adapter(model: Any, family: Family, folder: Path, **changes: Any) -> None:
    """Writes our adapters in PEFT's form."""
    folder.mkdir(exist_ok=True)
    (folder / ADAPTER_CONFIG).write_text(json.dumps({**adapter_config(model, family, "base"), **changes}))
    digest = fingerprint(plain_weights(without_adapters(model)))
    save_file(adapter_tensors(model, family), folder / ADAPTER_WEIGHTS, metadata={BASE_SHA256: digest})


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    result: Any = model(IDS)
    return result if isinstance(result, torch.Tensor) else result.logits


def brought_in(adapter: Path, base: Path) -> Any:
    model, family = opened(base)
    found = AdapterFolder.open(adapter)
    found.require_fit(model, family)
    return found.apply_adapter(model, family)


def require_equal(one: torch.Tensor, other: torch.Tensor, *, apart_from: torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(one, other, atol=atol, rtol=0)
    assert (one - apart_from).abs().max() > 0.05, "the adapters change nothing, so that nothing was compared"


@pytest.mark.parametrize(
    "targets",
    [ALL, ["attention.query"], ["attention.key", "attention.value"], ["attention.output", "head"], [*ALL, "head"]],
    ids="+".join,
)
@pytest.mark.parametrize("model_type", CONFIGS)
def test_what_goes_out_peft_computes_alike(
    model_type: str, targets: list[str], bases: Callable[[str], Path], tmp_path: Path
) -> None:
    base, family = opened(bases(model_type))
    model = adapted(base, targets=targets)
    write_adapter(model, family, tmp_path)
    wrapped = laid_by_peft(tmp_path, bases(model_type))
    require_equal(logits(model), logits(wrapped), apart_from=logits(base), atol=1e-4)
    if model_type in ("gpt2", "openai-gpt"):  # others turn their queries in float32 there, whatever the model's dtype
        require_equal(
            logits(model.double()), logits(wrapped.double()), apart_from=logits(base.double()), atol=1e-10
        )  # fmt: skip


def test_fused_maps_have_a_block_for_each_of_ours(bases: Callable[[str], Path]) -> None:
    base, family = opened(bases("gpt2"))
    whole = their_adapters(adapted(base, targets=["attention.*"]), family)
    a, b = whole["transformer.h.1.attn.c_attn"]
    assert a.shape == (9, 32)
    assert b.shape == (96, 9)
    blocks = torch.block_diag(*(torch.ones(32, 3) for _ in range(3)))
    assert b.ne(0).equal(blocks.bool())
    some = their_adapters(adapted(base, targets=["attention.key", "attention.value"]), family)
    a, b = some["transformer.h.0.attn.c_attn"]
    assert a.shape == (6, 32)
    assert not b[:32].any()
    config = adapter_config(adapted(base, targets=["attention.*"]), family, "base")
    assert config["r"] == 3
    assert config["rank_pattern"] == {"c_attn": 9}
    assert config["alpha_pattern"] == {"c_attn": 21.0}
    assert config["fan_in_fan_out"]


def test_adapters_of_experts_are_refused_where_peft_has_none() -> None:
    model = GPT(preset("smith", embed_dim=32, num_layers=1, num_heads=2, feedforward={"kind": "experts", "bias": True}))
    with pytest.raises(UserError, match=r"no adapters of experts .*feedforward.router.* merge the adapters"):
        require_linear(with_adapters(model, LoraLinearSettings(targets=ALL, rank=2)))
    require_linear(with_adapters(model, LoraLinearSettings(targets=["attention.*"], rank=2)))


def test_targets_name_no_map_that_is_not_adapted(bases: Callable[[str], Path]) -> None:
    """GPT-2 calls two maps of a block c_proj."""
    base, family = opened(bases("gpt2"))
    config = adapter_config(adapted(base, targets=["attention.output", "feedforward.input"]), family, "base")
    assert config["target_modules"] == ["attn.c_proj", "c_fc"]
    config = adapter_config(adapted(base, targets=["attention.output", "feedforward.output"]), family, "base")
    assert config["target_modules"] == ["c_proj"]


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
        ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "rank_pattern": {"c_proj": 5}}),
        ("openai-gpt", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
        ("llama", {"target_modules": "all-linear"}),
        ("llama", {"target_modules": ["q_proj", "v_proj"], "use_rslora": True}),
        (
            "llama",
            {
                "target_modules": ["q_proj", "down_proj", "up_proj"],
                "rank_pattern": {"q_proj": 2, r".*\.1\.mlp\.down_proj": 4},
                "alpha_pattern": {"up_proj": 1, "^model.layers.0.self_attn.q_proj": 11},
            },
        ),
        ("llama", {"target_modules": ["lm_head", "o_proj"]}),
        ("qwen3", {"target_modules": ["q_proj", "gate_proj"], "layers_to_transform": [1]}),
        ("qwen3", {"target_modules": "all-linear", "init_lora_weights": "gaussian", "lora_dropout": 0.1}),
        ("qwen3", {"target_modules": ["lm_head", "k_proj"]}),
    ],
    ids=str,
)
def test_what_peft_wrote_comes_in_and_computes_alike(
    model_type: str, settings: dict[str, Any], bases: Callable[[str], Path], tmp_path: Path
) -> None:
    wrapped = adapter_of_peft(bases(model_type), tmp_path, **settings)
    model = brought_in(tmp_path, bases(model_type))
    assert model.config.linear.dropout == settings.get("lora_dropout", 0.0)
    require_equal(logits(model), logits(wrapped), apart_from=logits(opened(bases(model_type))[0]), atol=1e-4)
    if model_type in ("gpt2", "openai-gpt"):
        torch.testing.assert_close(logits(model.double()), logits(wrapped.double()), atol=1e-6, rtol=0)


@pytest.mark.parametrize("targets", [ALL, ["attention.query", "attention.value"], ["feedforward.output", "head"]])
def test_what_goes_out_and_comes_in_is_the_same_model(
    targets: list[str], bases: Callable[[str], Path], tmp_path: Path
) -> None:
    base, family = opened(bases("gpt2"))
    model = adapted(base, targets=targets)
    write_adapter(model, family, tmp_path)
    back = brought_in(tmp_path, bases("gpt2"))
    assert back.config.linear.rank == 3
    assert back.config.linear.alpha == pytest.approx(7.0)
    ours, others = dict(model.named_parameters()), dict(back.named_parameters())
    assert ours.keys() == others.keys()
    assert all(others[name].equal(parameter) for name, parameter in ours.items())


def test_an_adapter_that_was_never_trained_comes_in_as_its_base(bases: Callable[[str], Path], tmp_path: Path) -> None:
    base, family = opened(bases("gpt2"))
    write_adapter(with_adapters(base, LoraLinearSettings(rank=3, targets=["attention.query"])), family, tmp_path)
    back = brought_in(tmp_path, bases("gpt2"))
    assert logits(back).equal(logits(base))
    assert all(module.lora_a.any() for module in back.modules() if isinstance(module, LoraLinear)), "it can be trained"


def test_an_adapter_of_another_base_is_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    base, family = opened(bases("llama"))
    adapter = tmp_path / "adapter"
    write_adapter(adapted(base), family, adapter)
    other = tmp_path / "other"
    config = transformers.AutoConfig.for_model("llama", **CONFIGS["llama"])
    write_base(transformers.AutoModelForCausalLM.from_config(config), other, seed=4)
    with pytest.raises(UserError, match="is an adapter of another base: its weights have SHA-256"):
        brought_in(adapter, other)
    narrow = tmp_path / "narrow"
    config = transformers.AutoConfig.for_model("llama", **{**CONFIGS["llama"], "hidden_size": 24})
    write_base(transformers.AutoModelForCausalLM.from_config(config), narrow)
    with pytest.raises(
        UserError, match=r"not an adapter of this base: .*lora_A.weight is \(3, 32\).*asks for \(3, 24\)"
    ):
        brought_in(adapter, narrow)
    with pytest.raises(
        UserError, match=r"has no linear layers model.layers.0.mlp.down_proj.*family gpt2: .*attn.c_attn.*lm_head"
    ):
        brought_in(adapter, bases("gpt2"))


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "IA3"},
        {"task_type": "SEQ_CLS"},
        {"bias": "all"},
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"init_lora_weights": "pissa"},
        {"trainable_token_indices": [1]},
        {"layer_replication": [[0, 2]]},
        {"lora_bias": True},
        {"some_new_option": 3},
        {"r": 0},
        {"lora_alpha": "much"},
        {"alpha_pattern": {"q_proj": -1}},
        {"rank_pattern": {"(": 3}},
        {"rank_pattern": [3]},
        {"rank_pattern": {"(a+)+": 3}},
        {"alpha_pattern": {r"(.*)\1": 3}},
        {"target_modules": "(a+)+$"},
        {"exclude_modules": "(a|a)*b"},
        {"layers_pattern": ["layers", "(a+)+$"]},
    ],
    ids=str,
)
def test_what_we_do_not_compute_is_refused_by_name(
    changes: dict[str, Any], bases: Callable[[str], Path], tmp_path: Path
) -> None:
    base, family = opened(bases("llama"))
    write_adapter(adapted(base), family, tmp_path, **changes)
    with pytest.raises(UserError, match=next(iter(changes))):
        AdapterFolder.open(tmp_path)


def test_a_rank_that_the_config_does_not_say_is_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    base, family = opened(bases("llama"))
    write_adapter(adapted(base), family, tmp_path, rank_pattern={"v_proj": 2})
    with pytest.raises(UserError, match=r"v_proj has rank 3, and adapter_config.json says 2"):
        brought_in(tmp_path, bases("llama"))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    change(tensors)
    save_file(tensors, folder / ADAPTER_WEIGHTS)


def test_weights_that_are_no_adapters_are_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    base, family = opened(bases("llama"))
    write_adapter(adapted(base), family, tmp_path)
    norm = f"{PREFIX}model.norm.weight"
    change_tensors(tmp_path, lambda tensors: tensors.update({norm: plain_weights(base)["final_norm.weight"].clone()}))
    assert brought_in(tmp_path, bases("llama")), "the base's own may be there: PEFT writes them beside a head"
    change_tensors(tmp_path, lambda tensors: tensors[norm].add_(1))
    with pytest.raises(UserError, match=r"model.norm.weight is not the base's"):
        brought_in(tmp_path, bases("llama"))
    change_tensors(tmp_path, lambda tensors: tensors.update({f"{PREFIX}score.weight": tensors.pop(norm)}))
    with pytest.raises(UserError, match=r"score.weight is not known"):
        brought_in(tmp_path, bases("llama"))


def test_damaged_adapters_are_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    base, family = opened(bases("llama"))
    write_adapter(adapted(base), family, tmp_path)
    query = f"{PREFIX}model.layers.0.self_attn.q_proj"
    change_tensors(tmp_path, lambda tensors: tensors[query + A].fill_(torch.nan))
    with pytest.raises(UserError, match="not finite"):
        brought_in(tmp_path, bases("llama"))
    change_tensors(tmp_path, lambda tensors: tensors.pop(query + B))
    with pytest.raises(UserError, match=r"missing: .*q_proj.lora_B"):
        brought_in(tmp_path, bases("llama"))
    change_tensors(tmp_path, lambda tensors: [tensors.pop(name) for name in list(tensors) if name.endswith(A)])
    with pytest.raises(UserError, match="holds no adapters"):
        AdapterFolder.open(tmp_path)
    whole = (tmp_path / ADAPTER_WEIGHTS).read_bytes()
    (tmp_path / ADAPTER_WEIGHTS).write_bytes(whole[:-10])
    with pytest.raises(UserError, match=r"cut short|damaged"):
        AdapterFolder.open(tmp_path)


def test_a_pickle_is_refused_with_advice(bases: Callable[[str], Path], tmp_path: Path) -> None:
    base, family = opened(bases("llama"))
    write_adapter(adapted(base), family, tmp_path)
    (tmp_path / ADAPTER_WEIGHTS).rename(tmp_path / "adapter_model.bin")
    with pytest.raises(UserError, match=r"adapter_model.bin is a pickle.*save_pretrained"):
        AdapterFolder.open(tmp_path)
    (tmp_path / "adapter_model.bin").unlink()
    with pytest.raises(UserError, match="holds no adapter"):
        AdapterFolder.open(tmp_path)
