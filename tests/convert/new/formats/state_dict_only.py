"""A format for a test: our own parameters in one safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from safetensors.torch import load_file, save_file

from gptsmith.base.files import read_json, write_json
from gptsmith.convert.backends import Backend
from gptsmith.convert.backends.own import OwnBackend
from gptsmith.convert.formats import FormatSettings, Source
from gptsmith.convert.state_dict import plain_weights
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import empty_model
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.load import load_tokenizer


class StateDictOnlyFormatSettings(FormatSettings):
    """weights.safetensors, shape.json and the tokenizer."""

    kind: Literal["state_dict_only"] = "state_dict_only"
    precision: Literal["float32"] = "float32"

    def check(self, source: Source) -> None:
        pass

    def write(self, source: Source, folder: Path) -> None:
        write_json(folder / "shape.json", source.model.config.plain())
        save_file(plain_weights(source.model), folder / "weights.safetensors")
        source.tokenizer.save(folder)
        if source.template is not None:
            source.template.save(folder)

    def backend(self, folder: Path) -> Backend:
        model = empty_model(GPTConfig.parse(read_json(folder / "shape.json")))
        model.load_state_dict(load_file(folder / "weights.safetensors"))
        return OwnBackend(model, load_tokenizer(folder), ChatTemplate.load(folder))
