"""A folder that Transformers loads without code of ours, and vLLM and others with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor

from gptsmith.base.files import write_atomically, write_json
from gptsmith.convert.backends import Backend
from gptsmith.convert.backends.own import OwnBackend
from gptsmith.convert.backends.transformers import transformers_backend
from gptsmith.convert.families import family_for
from gptsmith.convert.formats import FormatSettings, Source
from gptsmith.convert.huggingface import CONFIG, ModelFolder
from gptsmith.convert.safetensors_files import INDEX, SINGLE
from gptsmith.convert.state_dict import plain_weights, their_tensors
from gptsmith.run.folder import GENERATION

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SHARD_BYTES = 5_000_000_000


class HuggingFaceFormatSettings(FormatSettings):
    """config.json, weights as safetensors, tokenizer, chat template, generation defaults and a model card."""

    kind: Literal["huggingface"] = "huggingface"
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    shard_bytes: int = Field(default=SHARD_BYTES, gt=0)
    """The most bytes of a file of weights; one that is larger is written as several."""

    def check(self, source: Source) -> None:
        family_for(source.model.config, preferred=source.model_type)

    def write(self, source: Source, folder: Path) -> None:
        family = family_for(source.model.config, preferred=source.model_type)
        ours = plain_weights(source.model)
        dtype = DTYPES[self.precision]
        tensors = their_tensors(family, source.model.config, ours)
        _save_shards(tensors, folder, dtype, self.shard_bytes)
        ids = _token_ids(source)
        config = family.write(source.model.config)
        write_json(folder / CONFIG, {**config, **ids, "dtype": self.precision, "torch_dtype": self.precision})
        write_json(folder / GENERATION, {**_sampling(source), **ids})
        source.tokenizer.save(folder, model_max_length=source.model.config.context_length)
        if source.template is not None:
            source.template.save(folder)
        write_atomically(folder / "README.md", source.card)

    def backend(self, folder: Path) -> Backend:
        other = transformers_backend(folder)
        if not isinstance(other, str):
            return other
        written = ModelFolder.open(folder)
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return OwnBackend(written.model(), written.tokenizer, written.template, files)


def _token_ids(source: Source) -> dict[str, Any]:
    """The ids that begin, end and fill up a text."""
    ends = sorted(source.tokenizer.end_ids, key=lambda number: number != source.tokenizer.eos_token_id)
    named, number_of = source.tokenizer.named_tokens, source.tokenizer.backend.token_to_id
    return {
        "bos_token_id": number_of(named["bos_token"]) if "bos_token" in named else None,
        "eos_token_id": ends if len(ends) > 1 else ends[0],
        # Named even if there is none: some families have one of their own, which a smaller vocabulary does not hold.
        "pad_token_id": number_of(named["pad_token"]) if "pad_token" in named else None,
    }


def _sampling(source: Source) -> dict[str, Any]:
    if source.model_type is not None and not source.generation:
        return {}  # the model came without defaults, which is greedy there
    if source.generation.get("temperature", 1.0) == 0:
        return {"do_sample": False, **{key: value for key, value in source.generation.items() if key != "temperature"}}
    return {"do_sample": True, **source.generation}


def _save_shards(tensors: dict[str, Tensor], folder: Path, dtype: torch.dtype, shard_bytes: int) -> None:
    shards = list(_shards(tensors, dtype.itemsize, shard_bytes))
    names = [f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = [SINGLE]
    for name, shard in zip(names, shards, strict=True):
        save_file({key: tensors[key].to(dtype) for key in shard}, folder / name, metadata={"format": "pt"})
    if len(shards) > 1:
        size = sum(tensor.numel() for tensor in tensors.values()) * dtype.itemsize
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})


def _shards(tensors: dict[str, Tensor], itemsize: int, shard_bytes: int) -> Iterator[list[str]]:
    """The names of the tensors of each file."""
    shard: list[str] = []
    size = 0
    for name, tensor in tensors.items():
        num_bytes = tensor.numel() * itemsize
        if shard and size + num_bytes > shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += num_bytes
    yield shard
