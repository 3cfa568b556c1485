"""TransformerLens finds in our models what we find: patterns, heads, states, direct contributions, the lens. It runs
where it is installed, which takes thirty packages: pip install transformer-lens"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from gptsmith.convert.load import Loaded, load
from gptsmith.explain.attribution import POSITIONS, direct_contributions
from gptsmith.explain.lens import lens_logits
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question
from gptsmith.model.taps import record

from ..convert.folders import write_model

bridges = pytest.importorskip("transformer_lens.model_bridge", reason="transformer-lens is not installed")
TOLERANCE = {"rtol": 0, "atol": 2e-5}  # angles of rotary positions are float32


@pytest.fixture(scope="module", params=["gpt2", "llama3"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Loaded, Any, Any, Tensor]:
    """A model as we have it, and as TransformerLens has it with what it recorded of some tokens, in float64."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    write_model(request.param, folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").double()
    bridge = bridges.TransformerBridge.boot_transformers(
        str(folder), device="cpu", dtype=torch.float64, hf_model=theirs,
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    ids = torch.randint(300, (1, 11), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids)
    loaded = load(folder, device="cpu", dtype="float32")
    loaded.model = loaded.model.double()
    loaded.model.compute_dtype = torch.float64
    return loaded, bridge, cache, ids


def asked(loaded: Loaded, ids: Tensor) -> Question:
    return Question(loaded.model, loaded.tokenizer, Prompt(tuple(ids[0].tolist()), ()), 7, 20)


def test_taps_are_their_hooks(both: tuple[Loaded, Any, Any, Tensor]) -> None:
    loaded, _, cache, ids = both
    found = record(loaded.model, ids, ["*"])
    for layer in range(loaded.config.num_layers):
        ours, theirs = f"blocks.{layer}.", f"blocks.{layer}."
        torch.testing.assert_close(found[ours + "attention.pattern"], cache[theirs + "attn.hook_pattern"], **TOLERANCE)
        torch.testing.assert_close(
            found[ours + "attention.heads"].transpose(1, 2), cache[theirs + "attn.hook_z"], **TOLERANCE
        )
        for point, hook in (
            ("input", "hook_resid_pre"), ("attention.output", "hook_attn_out"), ("feedforward.output", "hook_mlp_out"),
            ("output", "hook_resid_post"),
        ):  # fmt: skip
            torch.testing.assert_close(found[ours + point], cache[theirs + hook], **TOLERANCE)
    torch.testing.assert_close(found["embedding"], cache["hook_embed"], **TOLERANCE)
    torch.testing.assert_close(found["logits"], cache["unembed.hook_out"], **TOLERANCE)


def test_direct_contributions_and_the_lens_are_theirs(both: tuple[Loaded, Any, Any, Tensor]) -> None:
    loaded, bridge, cache, ids = both
    question = asked(loaded, ids)
    found = direct_contributions(question)
    is_centred = loaded.config.norm.kind == "layernorm"
    towards = (bridge.W_U[:, 7] - bridge.W_U[:, 20]) * bridge.ln_final.weight / cache["ln_final.hook_scale"][0, -1]

    def contribution(vector: Tensor) -> float:
        return float((vector - vector.mean() if is_centred else vector).detach() @ towards.detach())

    for layer in range(loaded.config.num_layers):
        heads, outputs = cache[f"blocks.{layer}.attn.hook_z"][0, -1], bridge.blocks[layer].attn.W_O
        for head in range(loaded.config.num_heads):
            theirs = contribution(heads[head] @ outputs[head])
            assert found[f"blocks.{layer}.attention.heads.{head}"] == pytest.approx(theirs, abs=1e-4)
        fed = contribution(cache[f"blocks.{layer}.hook_mlp_out"][0, -1])
        assert found[f"blocks.{layer}.feedforward.output"] == pytest.approx(fed, abs=1e-4)
    assert found["embedding"] == pytest.approx(contribution(cache["hook_embed"][0, -1]), abs=1e-4)
    if is_centred:
        assert found[POSITIONS] == pytest.approx(contribution(cache["hook_pos_embed"][0, -1]), abs=1e-4)
    logits = lens_logits(question)
    with torch.no_grad():
        for depth, state in enumerate([cache["blocks.0.hook_resid_pre"], cache["blocks.0.hook_resid_post"]]):
            theirs = bridge.unembed(bridge.ln_final(state))[0, -1]
            torch.testing.assert_close(logits[depth], theirs, **TOLERANCE)
