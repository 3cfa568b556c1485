"""Adapters alone, in the folder that PEFT's `save_pretrained` writes, with their base where no folder holds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from safetensors.torch import save_file

from gptsmith.base.errors import ConversionError
from gptsmith.base.files import write_atomically, write_json
from gptsmith.convert.adapters import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE,
    BASE_SHA256,
    AdapterFolder,
    adapter_config,
    adapter_tensors,
    fingerprint,
    require_linear,
)
from gptsmith.convert.backends import Backend
from gptsmith.convert.backends.peft import peft_backend
from gptsmith.convert.families import family_for
from gptsmith.convert.formats import FormatSettings, Source
from gptsmith.convert.formats.huggingface import HuggingFaceFormatSettings
from gptsmith.convert.state_dict import plain_weights
from gptsmith.model.transform import without_adapters

BASE_CARD = "# The base of adapters\n\nThe model that the adapters in the folder above are applied to.\n"


class PeftFormatSettings(FormatSettings):
    """adapter_config.json, adapter_model.safetensors, tokenizer, chat template and a model card."""

    takes_adapters: ClassVar[bool] = True
    kind: Literal["peft"] = "peft"
    precision: Literal["float32"] = "float32"

    def check(self, source: Source) -> None:
        if not source.model.config.linear.has_adapters:
            raise ConversionError(
                f"{source.name} has no adapters, and peft holds nothing else: export the model with --to huggingface"
            )
        family_for(source.model.config, preferred=source.model_type)
        require_linear(source.model)

    def write(self, source: Source, folder: Path) -> None:
        family = family_for(source.model.config, preferred=source.model_type)
        base = without_adapters(source.model)
        # The base is large, and the same for all of its adapters: one that lies somewhere already is named, not copied.
        # PEFT looks a name up from wherever it is started, so it is a whole path. We look beside the adapter first, so
        # that a folder that was moved with its base still knows it.
        if source.base is None:
            whole = replace(source, model=base, template=None, card=BASE_CARD)
            (folder / BASE).mkdir()
            HuggingFaceFormatSettings().write(whole, folder / BASE)
        named = source.base or source.target / BASE
        write_json(folder / ADAPTER_CONFIG, adapter_config(source.model, family, str(named.resolve())))
        save_file(
            adapter_tensors(source.model, family),
            folder / ADAPTER_WEIGHTS,
            metadata={"format": "pt", BASE_SHA256: fingerprint(plain_weights(base))},
        )
        source.tokenizer.save(folder, model_max_length=source.model.config.context_length)
        if source.template is not None:
            source.template.save(folder)
        card = source.card.replace("library_name: transformers", "library_name: peft", 1)
        write_atomically(folder / "README.md", card)

    def backend(self, folder: Path) -> Backend | str:
        base = AdapterFolder.open(folder).base
        assert base is not None, "the base was written, or lies where it was found"
        return peft_backend(folder, base)
