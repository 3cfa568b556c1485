"""A folder that `ollama create NAME -f Modelfile` makes a model of: a GGUF file and a Modelfile."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gptsmith.base.files import write_atomically
from gptsmith.base.json_text import json_text
from gptsmith.convert.backends import Backend
from gptsmith.convert.formats import FormatSettings, Source
from gptsmith.convert.formats.gguf import FILE, GGUFFormatSettings
from gptsmith.convert.go_template import default_system, go_template

MODELFILE = "Modelfile"
NO_TOOLS = "# The chat template writes tools in a form that is not known here: in Ollama this model takes none."
NOT_RUN = "; Ollama itself: not run"


class OllamaFormatSettings(FormatSettings):
    """GGUF with a Modelfile: the template in Go's language, where turns end, sampling defaults, context."""

    kind: Literal["ollama"] = "ollama"
    precision: Literal["float32", "float16", "bfloat16", "q8_0"] = "q8_0"
    """Ollama is for running a model, and q8_0 runs fastest; float16 keeps more."""

    def check(self, source: Source) -> None:
        self._gguf.check(source)
        go_template(source.template, source.tokenizer)

    def write(self, source: Source, folder: Path) -> None:
        self._gguf.write(source, folder)
        write_atomically(folder / MODELFILE, _modelfile(source))

    def backend(self, folder: Path) -> Backend | str:
        reader = self._gguf.backend(folder)
        if isinstance(reader, str):
            return reader + NOT_RUN
        reader.name += NOT_RUN
        reader.files = [*reader.files, folder / MODELFILE]
        return reader

    @property
    def _gguf(self) -> GGUFFormatSettings:
        return GGUFFormatSettings(precision=self.precision)


def _modelfile(source: Source) -> str:
    tokenizer = source.tokenizer
    template = go_template(source.template, tokenizer)
    lines = [f"FROM ./{FILE}", f'TEMPLATE """{template}"""']
    if source.template is not None and "tools" in source.template.variables and ".Tools" not in template:
        lines.insert(0, NO_TOOLS)
    if (system := default_system(source.template, tokenizer)) is not None:
        lines.append(f'SYSTEM """{system}"""')
    lines += [f"PARAMETER stop {json_text(tokenizer.backend.id_to_token(n))}" for n in sorted(tokenizer.end_ids)]
    lines += [f"PARAMETER {name} {value}" for name, value in source.generation.items() if value is not None]
    return "\n".join([*lines, f"PARAMETER num_ctx {source.model.config.context_length}", ""])
