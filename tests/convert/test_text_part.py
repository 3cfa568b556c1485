"""The text part of a model of pictures and text, as Transformers writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from gptsmith.base.errors import UserError
from gptsmith.convert.families import family_of
from gptsmith.convert.huggingface import ModelFolder
from tests.convert.folders import GEMMA3, changed_config, randomize, write_tokenizer

IDS = torch.randint(280, (2, 40), generator=torch.Generator().manual_seed(0))
VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 8,
    "patch_size": 4,
}  # fmt: skip


def write_pictured(folder: Path) -> Any:
    """Writes a small Gemma 3 with its part for pictures; returns it as Transformers has it."""
    words = write_tokenizer("llama2", folder).get_vocab_size()
    text = {**GEMMA3, "vocab_size": words + 5, "pad_token_id": None}
    config = transformers.Gemma3Config(text_config=text, vision_config=VISION, mm_tokens_per_image=4)
    model = transformers.Gemma3ForConditionalGeneration(config)
    randomize(model)
    model.eval().save_pretrained(folder)
    return model


def test_the_text_part_computes_what_transformers_computes_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = write_pictured(tmp_path)
    found = ModelFolder.open(tmp_path)
    assert "the text part is used; 34 other tensors are not read" in capsys.readouterr().err
    with torch.no_grad():
        torch.testing.assert_close(found.model()(IDS), theirs(IDS).logits, rtol=0, atol=1e-4)


def test_names_of_older_files_are_known(tmp_path: Path) -> None:
    write_pictured(tmp_path)
    new = ModelFolder.open(tmp_path).shape
    file = tmp_path / "model.safetensors"
    renamed = {_older(name): tensor for name, tensor in load_file(file).items()}
    assert any(name.startswith("language_model.model.layers.") for name in renamed)
    save_file(renamed, file)
    assert ModelFolder.open(tmp_path).shape == new


def _older(name: str) -> str:
    return name.replace("model.language_model.", "language_model.model.").replace("model.vision", "vision")


def test_a_published_config_leaves_out_what_gemma_3_has_by_default() -> None:
    """That of gemma-3-4b-it."""
    shape = family_of("gemma3_text").read({
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    })  # fmt: skip
    assert (shape.vocab_size, shape.context_length) == (262_208, 131_072)
    assert (shape.num_heads, shape.resolved_head_dim) == (8, 256)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"text_config": {"hidden_size": 48}}, "text_config says no model_type"),
        ({"text_config": {"model_type": "t5"}}, "model_type='t5' is not known"),
    ],
)
def test_a_part_that_is_not_known_is_refused(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    write_pictured(tmp_path)
    changed_config(tmp_path, **changes)
    with pytest.raises(UserError, match=named):
        ModelFolder.open(tmp_path)


def test_a_folder_without_the_text_part_is_refused(tmp_path: Path) -> None:
    write_pictured(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if "language_model" not in name}, file)
    assert json.loads((tmp_path / "config.json").read_text())["text_config"]
    with pytest.raises(UserError, match="has no weights of a text part"):
        ModelFolder.open(tmp_path)
