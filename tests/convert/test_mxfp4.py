"""gpt-oss in MXFP4, as it is published, is read as Transformers reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from gptsmith.base.errors import UserError
from gptsmith.convert.backends.transformers import transformers_backend
from gptsmith.convert.huggingface import ModelFolder
from gptsmith.convert.mxfp4 import packed_shape, unpacked
from tests.convert.folders import changed_config, write_model

WIDE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
"""Rows are whole blocks of 32."""


def packed(num_experts: int, num_rows: int, num_columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num_rows)
    blocks = torch.randint(256, (num_experts, num_rows, num_columns // 32, 16), generator=generator)
    scales = torch.randint(119, 126, blocks.shape[:-1], generator=generator)
    return blocks.to(torch.uint8), scales.to(torch.uint8)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with packed experts."""
    folder = tmp_path_factory.mktemp("published")
    write_model("gpt_oss", folder, **WIDE)
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        num_experts, num_columns, num_rows = tensors.pop(name).shape
        tensors[f"{name}_blocks"], tensors[f"{name}_scales"] = packed(num_experts, num_rows, num_columns)
    tensors = {name: each if each.dtype == torch.uint8 else each.bfloat16() for name, each in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    skipped = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    changed_config(
        folder, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": skipped}, dtype="bfloat16"
    )
    return folder


def test_blocks_are_the_numbers_that_transformers_reads() -> None:
    blocks, scales = packed(3, 10, 64)
    theirs = convert_moe_packed_tensors(blocks, scales, dtype=torch.bfloat16)
    assert packed_shape(tuple(blocks.shape), tuple(scales.shape)) == theirs.shape
    for number in range(3):
        assert unpacked(blocks[number], scales[number]).equal(theirs[number])


def test_a_published_folder_computes_what_transformers_computes(published: Path) -> None:
    found = ModelFolder.open(published)
    ours = found.model()
    assert ours.blocks[0].feedforward.experts[0].gate.weight.dtype == torch.bfloat16
    theirs: Any = transformers_backend(published)
    ids = torch.randint(280, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids)[0], theirs.logits(ids[0].tolist()), rtol=0, atol=1e-4)


def test_one_expert_is_unpacked_at_a_time(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    monkeypatch.setattr(
        "gptsmith.convert.safetensors_files.unpacked",
        lambda blocks, scales: shapes.append(tuple(blocks.shape)) or unpacked(blocks, scales),
    )
    ModelFolder.open(published).model()
    assert sorted(shapes) == sorted([(192, 2, 16), (64, 3, 16)] * 2 * 5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"_scales": None}, "down_proj_blocks is U8, and weights are"),
        ({"_scales": torch.zeros(5, 64, 2, dtype=torch.uint8)}, r"scales \(5, 64, 2\), which do not fit together"),
        ({"_blocks": torch.zeros(5, 64, 3, 15, dtype=torch.uint8)}, "do not fit together"),
        ({"_scales": torch.full((5, 64, 3), 255, dtype=torch.uint8)}, "down_proj holds a number that is not finite"),
        ({"_blocks": torch.zeros(5, 64, 3, 16)}, "is U8, and weights are|left over"),
    ],
)
def test_damaged_blocks_are_refused(
    change: dict[str, torch.Tensor | None], named: str, published: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(published, tmp_path / "damaged")
    tensors = load_file(folder / "model.safetensors")
    for suffix, tensor in change.items():
        name = f"model.layers.0.mlp.experts.down_proj{suffix}"
        del tensors[name]
        if tensor is not None:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=named):
        ModelFolder.open(folder).model()


def test_another_quantization_is_refused_by_name(published: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(published, tmp_path / "other")
    changed_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(UserError, match=r"config.json: quantization_config: quant_method='gptq' is not known .*mxfp4"):
        ModelFolder.open(folder)


def test_weights_go_out_in_a_dtype_and_without_the_quantization(published: Path) -> None:
    found = ModelFolder.open(published)
    assert "quantization_config" not in json.dumps(found.family.write(found.shape))
