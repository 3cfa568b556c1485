"""A GGUF file, which llama.cpp and what is built on it read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gptsmith.base.errors import ConversionError
from gptsmith.convert.backends import Backend
from gptsmith.convert.families import Family, at_path, families, family_for, readable, resolved
from gptsmith.convert.formats import FormatSettings, Source
from gptsmith.convert.gguf_keys import SAMPLING, unsaid, written_keys
from gptsmith.convert.gguf_layout import architecture_of, gguf_tensors
from gptsmith.convert.gguf_rope import DIVISORS, divisors
from gptsmith.convert.gguf_vocabulary import COMPOSES, GGUFVocabulary, vocabulary_of
from gptsmith.convert.state_dict import plain_weights
from gptsmith.model.config import GPTConfig
from gptsmith.model.linear.grouped import packed_weights
from gptsmith.run.privacy_claim import claim_in_a_line

FILE = "model.gguf"
CLAIM_KEYS = "gptsmith.private"
"""What the keys of a claim begin with."""
LARGEST_FLOAT16 = 65504.0
EXACT = ("position_embd.weight", "ffn_gate_inp.weight", ".bias")
"""The ends of the names of tensors in float32: rounded, a router would choose other experts; biases of experts are
vectors, too."""


class GGUFFormatSettings(FormatSettings):
    """One file with weights, tokenizer and chat template."""

    kind: Literal["gguf"] = "gguf"
    precision: Literal["float32", "float16", "bfloat16", "q8_0"] = "float16"
    """That of weights that are not in blocks. float16 is what llama.cpp's own converter has always written and what
    its quantiser begins with. Weights in blocks are written as they are, unless a precision is given."""

    @property
    def keeps_blocks(self) -> bool:
        return "precision" not in self.model_fields_set

    def bound(self, source: Source) -> str:
        return "q8_0" if packed_weights(source.model) else self.precision

    def check(self, source: Source) -> None:
        shape = source.model.config
        family = _family(source)
        _require_known(family, shape)
        vocabulary_of(source.tokenizer, shape.vocab_size)
        if self.precision == "float16":
            _require_float16(source)

    def write(self, source: Source, folder: Path) -> None:
        import gguf

        shape, family = source.model.config, _family(source)
        writer = gguf.GGUFWriter(folder / FILE, architecture_of(family).name)
        try:
            _add_description(writer, source, self.precision)
            _add_shape(writer, family, shape)
            _add_vocabulary(writer, vocabulary_of(source.tokenizer, shape.vocab_size))
            if source.template is not None:
                writer.add_chat_template(source.template.source)
            for name, data, kind in _tensors(source, family, self.precision):
                writer.add_tensor(name, data, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()

    def backend(self, folder: Path) -> Backend | str:
        try:
            from gptsmith.convert.backends.llama_cpp import LlamaCppBackend
        except ImportError:
            return "llama.cpp's library is not installed here (pip install 'gptsmith[interop]')"
        return LlamaCppBackend(folder / FILE)


def _family(source: Source) -> Family:
    known = [family for family in families() if family.gguf is not None]
    return family_for(source.model.config, preferred=source.model_type, among=known)


def _require_known(family: Family, shape: GPTConfig) -> None:
    """
    Raises:
        ConversionError: Transformers' models of the family are more than llama.cpp's.
    """
    architecture = architecture_of(family)
    scaling = at_path(resolved(shape), "position.scaling.kind")
    if scaling not in (None, *architecture.scalings):
        raise ConversionError(
            f"llama.cpp supports no model with position.scaling.kind={scaling}: its {architecture.name} knows "
            f"{', '.join(architecture.scalings) or 'no scaling'}"
        )
    for key, (ours, theirs) in unsaid(family, shape).items():
        raise ConversionError(
            f"llama.cpp supports no model with {key}={readable(ours)}: its {architecture.name} always has "
            f"{readable(theirs)}"
        )


def _require_float16(source: Source) -> None:
    """
    Raises:
        ConversionError: a weight is larger than float16's largest number.
    """
    packed = packed_weights(source.model)
    for name, weight in plain_weights(source.model).items():
        if name not in packed and weight.dim() > 1 and float(weight.abs().max()) > LARGEST_FLOAT16:
            raise ConversionError(f"{name} is larger than float16 can be: choose --precision bfloat16 or float32")


def _add_description(writer: Any, source: Source, precision: str) -> None:
    import gguf

    kinds = gguf.LlamaFileType
    forms = Counter(part.form.name for part in packed_weights(source.model).values())
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(_name(source))
    known = {
        "float32": kinds.ALL_F32, "float16": kinds.MOSTLY_F16, "bfloat16": kinds.MOSTLY_BF16,
        "q4_0": kinds.MOSTLY_Q4_0, "q4_1": kinds.MOSTLY_Q4_1, "q5_0": kinds.MOSTLY_Q5_0, "q5_1": kinds.MOSTLY_Q5_1,
        "q8_0": kinds.MOSTLY_Q8_0, "q4_k": kinds.MOSTLY_Q4_K_M, "q5_k": kinds.MOSTLY_Q5_K_M, "q6_k": kinds.MOSTLY_Q6_K,
    }  # fmt: skip
    writer.add_file_type(known[forms.most_common(1)[0][0] if forms else precision])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if source.claim is not None:
        _add_claim(writer, source.claim)
    for ours, key in SAMPLING.items():
        if (value := source.generation.get(ours)) is not None:
            (writer.add_int32 if ours == "top_k" else writer.add_float32)(key, value)


def _add_claim(writer: Any, claim: Mapping[str, Any]) -> None:
    """What private training promises: in words for whoever lists the keys, and as numbers."""
    writer.add_description(f"{claim_in_a_line(claim)}.")
    add = {float: writer.add_float64, int: writer.add_uint32, str: writer.add_string}
    for name, value in claim.items():
        add[type(value)](f"{CLAIM_KEYS}.{name}", value)


def _name(source: Source) -> str:
    """The model's name. llama.cpp removes white space behind the special tokens of every model whose name contains
    phi3 or phi-3: another tokenizer's name is written as `phi 3`."""
    strips = any(token["special"] and token["rstrip"] for token in source.tokenizer.state["added_tokens"])
    return source.name if strips else re.sub("phi-?3", "phi 3", source.name, flags=re.IGNORECASE)


def _add_shape(writer: Any, family: Family, shape: GPTConfig) -> None:
    add: dict[type, Any] = {
        int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, bool: writer.add_bool,
        list: writer.add_array,
    }  # fmt: skip
    for key, value in written_keys(family, shape).items():
        add[type(value)](f"{architecture_of(family).name}.{key}", value)


def _add_vocabulary(writer: Any, vocabulary: GGUFVocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_token_scores(vocabulary.scores)
    for name, number in vocabulary.ids.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    writer.add_add_bos_token(vocabulary.adds_bos)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(vocabulary.adds_space)
    writer.add_bool(COMPOSES, vocabulary.composes)


def _tensors(source: Source, family: Family, precision: str) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Each tensor of the file, matrices as (out, in), with its type: those that are all in blocks of one format as they
    are, others as `_kept` says."""
    import gguf

    shape, ours, packed = source.model.config, plain_weights(source.model), packed_weights(source.model)
    for tensor in gguf_tensors(family, shape):
        parts = {name: packed.get(name) for mapping in tensor.mappings for name in mapping.ours}
        forms = {None if part is None else part.form.name for part in parts.values()}
        form = forms.pop() if len(forms) == 1 else None
        if form is not None:
            rows = tensor.join({name: part.weight.detach() for name, part in parts.items() if part is not None})
            yield tensor.name, rows.numpy(), gguf.GGMLQuantizationType[form.upper()]
        else:
            yield tensor.name, *_kept(tensor.name, tensor.join(ours).float().numpy(), precision)
    if (divided := divisors(shape)) is not None:
        yield DIVISORS, *_kept(DIVISORS, divided.numpy(), precision)


def _kept(name: str, data: np.ndarray, precision: str) -> tuple[np.ndarray, Any]:
    """A tensor as it is kept: vectors, biases, positions and routers in float32, rows that are no whole blocks in
    float16."""
    import gguf

    kinds = gguf.GGMLQuantizationType
    kind = {"float32": kinds.F32, "float16": kinds.F16, "bfloat16": kinds.BF16, "q8_0": kinds.Q8_0}[precision]
    if data.ndim == 1 or name.endswith(EXACT):
        kind = kinds.F32
    elif kind == kinds.Q8_0 and data.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
        kind = kinds.F16
    return gguf.quantize(data, kind), kind
