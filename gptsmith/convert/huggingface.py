"""A Hugging Face model folder: config, weights, tokenizer, chat template and generation defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gptsmith.base.errors import ConversionError, UserError, shown
from gptsmith.base.files import read_json, read_table, sha256_of
from gptsmith.convert.backends import Backend
from gptsmith.convert.backends.transformers import transformers_backend
from gptsmith.convert.certificate import CERTIFICATE
from gptsmith.convert.families import Family, family_of
from gptsmith.convert.foreign import ForeignModel
from gptsmith.convert.safetensors_files import TensorFiles, add_prefix, inside, match, open_tensors
from gptsmith.convert.state_dict import TensorMapping, tensor_mappings
from gptsmith.convert.text_part import keep_text_part, text_config
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import shaped_model
from gptsmith.run.folder import GENERATION
from gptsmith.text.chat_template import TEMPLATE, ChatTemplate
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.huggingface import SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG

CONFIG = "config.json"
TOKENIZER_FILES = (
    "tokenizer.json", TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, "vocab.json", "merges.txt", TEMPLATE, GENERATION,
)  # fmt: skip
OFF = {"top_k": (0, -1), "top_p": (0, 1), "repetition_penalty": (1,)}
"""Values with which Transformers' and vLLM's settings say that one is off."""


def is_model_folder(path: Path) -> bool:
    """Whether a path is such a folder: it holds a config.json that names a family, and is no run."""
    try:
        return isinstance(read_json(path / CONFIG).get("model_type"), str) and not (path / "run.toml").exists()
    except (UserError, AttributeError):
        return False


@dataclass(frozen=True)
class ModelFolder(ForeignModel):
    """A folder whose names, shapes and types have been matched with its config; no weight has been read yet."""

    path: Path
    config: Mapping[str, Any]
    family: Family
    shape: GPTConfig
    files: TensorFiles
    table: list[TensorMapping]
    tokenizer: Tokenizer
    template: ChatTemplate | None
    generation: Mapping[str, Any]
    """The content of generation_config.json."""

    @classmethod
    def open(cls, folder: Path, *, by_hash: bool = True) -> ModelFolder:
        """The model in a folder; `by_hash` False reads headers only, which is enough for its shape.

        Raises:
            ConversionError: the family is not known, or something in the folder is not sound or does not fit the rest.
        """
        config = _table(folder, CONFIG)
        try:
            text = text_config(config)
            family = family_of(text.get("model_type"))
            _require_known_quantization(config)
            shape = family.read(text)
        except UserError as error:
            raise ConversionError(f"{folder / CONFIG}: {error}") from None
        if by_hash:
            refuse_changed_files(folder)
        files = open_tensors(folder)
        if text is not config:
            keep_text_part(folder, files, family.head)
        if shape.num_layers > len(files.shapes):
            raise ConversionError(
                f"{folder / CONFIG} asks for {shape.num_layers:,} layers, and there are {len(files.shapes):,} weights"
            )
        shaped_model(shape, str(folder / CONFIG))
        table = tensor_mappings(family, shape)
        extra = [*family.extra, *([re.escape(family.head)] if shape.tie_embeddings else [])]
        wanted = {mapping.theirs: mapping.whole_shape for mapping in table}
        add_prefix(files, wanted, family.prefix)
        match(folder, files.shapes, wanted, extra)
        if by_hash:
            _refuse_second_head(files, table, family.head, shape)
        generation = _table(folder, GENERATION) if (folder / GENERATION).exists() else {}
        tokenizer = _tokenizer(folder, config, generation)
        if tokenizer.vocab_size > shape.vocab_size:
            raise ConversionError(
                f"{folder}: the tokenizer has {tokenizer.vocab_size:,} tokens and the embedding {shape.vocab_size:,} "
                "rows: they do not match"
            )
        return cls(folder, config, family, shape, files, table, tokenizer, template_in(folder), generation)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the model: its folder's."""
        return self.path.resolve().name

    @property
    def precision(self) -> str:  # type: ignore[override]
        """Transformers reads the weights in float32, as we do."""
        return "float32"

    @property
    def model_files(self) -> list[Path]:
        names = [CONFIG, *(name for name in TOKENIZER_FILES if (self.path / name).exists())]
        return [*(self.path / name for name in names), *self.files.files]

    @property
    def stored_parameters(self) -> Mapping[str, int]:
        return self.files.num_parameters

    def backend(self) -> Backend | str:
        return transformers_backend(self.path)

    def sampling(self) -> dict[str, Any]:
        """The sampling defaults that we know; a model that is usually greedy has the temperature 0 beside its others.
        Empty if there are none."""
        known = {key: self.generation.get(key) for key in SamplingSettings.model_fields}
        kept = {key: value for key, value in known.items() if value is not None and value not in OFF.get(key, ())}
        if not self.generation.get("do_sample"):
            others = {key: value for key, value in kept.items() if key != "temperature"}
            kept = {**others, "temperature": 0.0} if others else {}
        return SamplingSettings.parse(kept, GENERATION).model_dump(include=set(kept))

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        for mapping in self.table:
            for name, part in mapping.split(self.files.read(mapping.theirs, mapping.expert)):
                yield name, part.contiguous()


def _table(folder: Path, name: str) -> dict[str, Any]:
    return read_table(inside(folder, name))


def _require_known_quantization(config: Mapping[str, Any]) -> None:
    """
    Raises:
        ConversionError: the weights are rounded in a way that is not known.
    """
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else quantization
    if method not in (None, "mxfp4"):
        raise ConversionError(f"quantization_config: quant_method={shown(method)} is not known (known: mxfp4)")


def refuse_changed_files(folder: Path) -> None:
    """Checks a folder that we wrote by its certificate, which knows each file: a changed one is damaged, or another
    model.

    Raises:
        ConversionError: a file does not match the certificate.
    """
    if not (folder / CERTIFICATE).is_file():
        return
    try:
        recorded = dict(_table(folder, CERTIFICATE)["sides"][1]["files"])
    except (KeyError, IndexError, TypeError, ValueError):
        raise ConversionError(
            f"{folder / CERTIFICATE} is not a certificate: delete it to use the folder without"
        ) from None
    for name, digest in recorded.items():
        path = inside(folder, str(name))
        if sha256_of(path) != digest:
            raise ConversionError(
                f"{path} does not match {CERTIFICATE}: it is damaged, or was changed since "
                f"(if you changed it, delete {CERTIFICATE})"
            )


def _refuse_second_head(files: TensorFiles, table: list[TensorMapping], head: str, shape: GPTConfig) -> None:
    """A file may repeat the head that is the embedding.

    Raises:
        ConversionError: it holds another one.
    """
    if shape.tie_embeddings and head in files.shapes:
        embedding = next(mapping.theirs for mapping in table if mapping.ours == ("embedding.weight",))
        if not files.read(head).equal(files.read(embedding)):
            raise ConversionError(
                f"{files.files[0].parent}: tie_word_embeddings is true, and {head} is not the embedding"
            )


def _tokenizer(folder: Path, config: Mapping[str, Any], generation: Mapping[str, Any]) -> Tokenizer:
    """The folder's tokenizer, with every token that ends a text by its config or its generation defaults."""
    if (folder / "tokenizer.model").exists() and not (folder / "tokenizer.json").exists():
        raise ConversionError(
            f'{folder} has its tokenizer as tokenizer.model only: write tokenizer.json once, with: python -c "from '
            f"transformers import AutoTokenizer as T; T.from_pretrained('{folder.name}').save_pretrained('.')\", and "
            "copy it there"
        )
    for name in TOKENIZER_FILES:
        if (folder / name).is_symlink():
            inside(folder, name)
    tokenizer = load_tokenizer(folder)
    ends = generation.get("eos_token_id", config.get("eos_token_id"))
    numbers = ends if isinstance(ends, list) else [ends]
    known = [number for number in numbers if isinstance(number, int) and 0 <= number < tokenizer.vocab_size]
    tokens = [tokenizer.backend.id_to_token(number) for number in known]
    return tokenizer.ending_with([token for token in tokens if token is not None])


def template_in(folder: Path) -> ChatTemplate | None:
    """The chat template, in a file of its own or in the tokenizer's config."""
    if (template := ChatTemplate.load(folder)) is not None:
        return template
    path = folder / TOKENIZER_CONFIG
    found: Any = read_table(path).get("chat_template") if path.exists() else None
    if isinstance(found, list):
        named = {row.get("name"): row.get("template") for row in found if isinstance(row, Mapping)}
        found = named.get("default", next(iter(named.values()), None))
    return ChatTemplate(found) if isinstance(found, str) else None
