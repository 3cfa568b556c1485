"""A model in a GGUF file, as llama.cpp, Ollama and LM Studio keep it: weights, shape, tokenizer and chat template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gptsmith.base.console import note
from gptsmith.base.errors import ConversionError, UserError
from gptsmith.convert.backends import Backend
from gptsmith.convert.families import Family
from gptsmith.convert.foreign import ForeignModel
from gptsmith.convert.gguf_keys import EMBEDDING, SAMPLING, read_shape
from gptsmith.convert.gguf_layout import GGUFTensor, gguf_tensors
from gptsmith.convert.gguf_rope import DIVISORS, scaling_of
from gptsmith.convert.gguf_tensors import PLAIN, GGUFTensors, dtype_name
from gptsmith.convert.gguf_tokenizer import tokenizer_of
from gptsmith.convert.safetensors_files import match
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import shaped_model
from gptsmith.model.kernels.block_formats import BlockFormat
from gptsmith.model.linear.grouped import grouped
from gptsmith.model.position.rotary import RotaryPositionSettings
from gptsmith.text.chat_template import MAX_TEMPLATE, ChatTemplate
from gptsmith.text.tokenizer import Tokenizer

TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True)
class GGUFModel(ForeignModel):
    """A file whose names, shapes and types have been matched with its keys; no weight has been read yet."""

    path: Path
    family: Family
    shape: GPTConfig
    tensors: GGUFTensors
    table: list[GGUFTensor]
    tokenizer: Tokenizer
    template: ChatTemplate | None

    @classmethod
    def open(cls, path: Path) -> GGUFModel:
        """
        Raises:
            ConversionError: the architecture is not known, or something in the file is not sound or does not fit the
                rest.
        """
        tensors = GGUFTensors(path)
        try:
            family, shape = read_shape(tensors.keys, tensors.shapes)
            if shape.num_layers > len(tensors.shapes):
                raise ConversionError(f"{shape.num_layers:,} layers, and {len(tensors.shapes):,} tensors")
            shape = _with_divisors(shape, tensors)
            shaped_model(shape, str(path))
            tokenizer = tokenizer_of(tensors.keys)
            template = _template(tensors)
        except UserError as error:
            raise ConversionError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
        table = gguf_tensors(family, shape)
        match(path, tensors.shapes, {tensor.name: tensor.shape for tensor in table}, [DIVISORS])
        _compare_vocabularies(path, tokenizer, shape, tensors)
        return cls(path, family, _with_formats(shape, tensors, table), tensors, table, tokenizer, template)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the model: that of its file, which people know it by."""
        return self.path.stem

    @property
    def precision(self) -> str:  # type: ignore[override]
        """That of the roughest type. llama.cpp rounds activations to 8 bits before blocks of whatever bits."""
        kinds = self.tensors.kinds
        if kinds - PLAIN.keys():
            return "q8_0"
        return next((dtype_name(kind) for kind in ("BF16", "F16") if kind in kinds), "float32")

    @property
    def model_files(self) -> list[Path]:
        return list(self.tensors.files)

    @property
    def stored_parameters(self) -> Mapping[str, int]:
        return self.tensors.num_parameters

    def sampling(self) -> dict[str, Any]:
        keys = self.tensors.keys
        found = {ours: keys[theirs] for ours, theirs in SAMPLING.items() if keys.get(theirs) not in (None, 0)}
        if SAMPLING["temperature"] in keys:
            found["temperature"] = keys[SAMPLING["temperature"]]
        return SamplingSettings.parse(found, str(self.path)).model_dump(include=set(found))

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        for tensor in self.table:
            stays = _form(self.tensors, tensor) is not None
            yield from tensor.split((self.tensors.read_blocks if stays else self.tensors.read)(tensor.name))

    def backend(self) -> Backend | str:
        try:
            from gptsmith.convert.backends.llama_cpp import LlamaCppBackend
        except ImportError:
            return "llama.cpp's library is not installed here (pip install 'gptsmith[interop]')"
        return LlamaCppBackend(self.tensors.files[0])


def _with_divisors(shape: GPTConfig, tensors: GGUFTensors) -> GPTConfig:
    """The shape with Llama 3's scaling, where the file has its tensor.

    Raises:
        ConversionError: the tensor is of another shape, or no scaling that is known divides so.
    """
    if DIVISORS not in tensors.shapes:
        return shape
    position, half = shape.position, shape.resolved_head_dim // 2
    if not isinstance(position, RotaryPositionSettings) or tensors.shapes[DIVISORS] != (half,):
        raise ConversionError(f"{DIVISORS} is {tensors.shapes[DIVISORS]}, and heads have {half} frequencies")
    scaling = scaling_of(tensors.read(DIVISORS).float(), position.base)
    plain = shape.plain()
    return GPTConfig.parse({**plain, "position": {**plain["position"], "scaling": scaling}}, DIVISORS)


def _form(tensors: GGUFTensors, tensor: GGUFTensor) -> BlockFormat | None:
    """The format that a tensor stays in: that of linear layers or of the embedding."""
    is_table = any(name.startswith("position") for mapping in tensor.mappings for name in mapping.ours)
    return None if is_table else tensors.form(tensor.name)


def _with_formats(shape: GPTConfig, tensors: GGUFTensors, table: Sequence[GGUFTensor]) -> GPTConfig:
    """The shape whose linear layers and embedding are in the formats that the file keeps them in."""
    kept = [(tensor, _form(tensors, tensor)) for tensor in table]
    forms = {
        name.removesuffix(".weight"): None if form is None else form.name
        for tensor, form in kept
        for mapping in tensor.mappings
        for name in mapping.ours
        if name.endswith(".weight")
    }
    return shape.model_copy(update={"linear": grouped(forms)}) if any(forms.values()) else shape


def _template(tensors: GGUFTensors) -> ChatTemplate | None:
    source = tensors.keys.get(TEMPLATE)
    if source is not None and (not isinstance(source, str) or len(source) > MAX_TEMPLATE):
        raise ConversionError(f"{TEMPLATE} is no text of at most {MAX_TEMPLATE:,} characters")
    return ChatTemplate(source) if source else None


def _compare_vocabularies(path: Path, tokenizer: Tokenizer, shape: GPTConfig, tensors: GGUFTensors) -> None:
    """Says where the embedding has rows that the file's list of tokens has not.

    Raises:
        ConversionError: it has fewer than the tokenizer.
    """
    listed: Sequence[Any] = tensors.keys["tokenizer.ggml.tokens"]
    if tokenizer.vocab_size > shape.vocab_size:
        raise ConversionError(
            f"{path}: the tokenizer has {tokenizer.vocab_size:,} tokens and {EMBEDDING} {shape.vocab_size:,} rows: "
            "they do not match"
        )
    if len(listed) < shape.vocab_size:
        note(
            f"{path}: {EMBEDDING} has {shape.vocab_size:,} rows for {len(listed):,} tokens: the others are kept, and "
            "stand for no text"
        )
