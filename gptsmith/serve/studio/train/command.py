"""From what a person wants to train to the words of the command that does it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.base.command_words import fields_of, option_name, words_of
from gptsmith.base.errors import ConfigurationError, did_you_mean
from gptsmith.base.layers import Layer, layered
from gptsmith.model.config import GPTConfig
from gptsmith.serve.studio.train.offered_settings import is_offered
from gptsmith.serve.studio.train.schemas import Wish
from gptsmith.train.plan_request import PlanRequest
from gptsmith.train.request import FinetuneRequest, PretrainRequest
from gptsmith.train.resolve import given_layers, settings_before_data
from gptsmith.train.run_settings import FinetuneSettings

SHARED_OPTIONS = ("seed", "redact")
OPTIONS = {
    "pretrain": ("preset", "params", "tokenizer", *SHARED_OPTIONS),
    "finetune": ("objective", "epochs", "lora", "skip_bad", "me", "private", *SHARED_OPTIONS),
}
"""The options that the page offers, by verb."""
TOKENIZERS = ("bpe", "characters", "bytes")
OBJECTIVES = ("sft", "next_token", "goldfish", "classification", "dpo", "simpo", "kto", "reward_model")
"""Those that need neither a program nor another model."""
MAX_NAME_BYTES = 80

AnyRequest = PretrainRequest | FinetuneRequest


def request_of(wish: Wish, data: Sequence[str], base: str | None = None) -> AnyRequest:
    """The request of the verb that trains what is wanted.

    Args:
        data: the words that give the data on a command line.
        base: where the model is that training begins with; None begins with nothing.

    Raises:
        ConfigurationError: an option or a setting is not offered, or its value is not allowed.
    """
    verb = "pretrain" if base is None else "finetune"
    for name in wish.options:
        if name not in OPTIONS[verb]:
            raise ConfigurationError(f"{name} is no option of {verb} ({did_you_mean(name, OPTIONS[verb])})")
    for name, known in (("tokenizer", TOKENIZERS), ("objective", OBJECTIVES)):
        if name in wish.options and wish.options[name] not in known:
            raise ConfigurationError(f"{option_name(name)}: choose one of {', '.join(known)}")
    for path, value in wish.settings.items():
        if not is_offered(path, verb):
            raise ConfigurationError(f"{path} cannot be set here: use the command line")
        if "\n" in value:
            raise ConfigurationError(f"{path}: write the value in one line")
    cls: type[AnyRequest] = PretrainRequest if base is None else FinetuneRequest
    read = fields_of(data, cls, "sources")
    fields = {
        **read,
        **wish.options,
        # The steps of a private training must not depend on how long its data take.
        "minutes": None if "private" in wish.options else wish.minutes,
        "settings": [*read.get("settings", []), *(f"{path}={value}" for path, value in wish.settings.items())],
        **({} if base is None else {"base": base}),
    }
    return cls.parse(fields, "", origins={name: option_name(name) for name in wish.options})


def check_settings(request: AnyRequest, base: GPTConfig | None = None) -> None:
    """Checks the settings of a request, without reading its data.

    Args:
        base: the shape of the model that training begins with.

    Raises:
        UserError: one is unknown or not allowed; the message says which, and why.
    """
    if isinstance(request, PretrainRequest):
        settings_before_data(request)
        return
    assert base is not None, "a fine-tuning has a base"
    stand_ins = Layer("", {"model": base.plain(), "train": {"num_steps": 1, "batch_size": 1}})
    layered([stand_ins, *given_layers(request)], FinetuneSettings).parse(FinetuneSettings)


def training_words(request: AnyRequest) -> tuple[str, list[str]]:
    """The verb of a request, and the words behind it."""
    positional = ("sources",) if isinstance(request, PretrainRequest) else ("base", "sources")
    return request.made_by, words_of(request, positional, "--json")


def plan_words(request: AnyRequest) -> list[str]:
    """The words behind `plan` that plan the same."""
    known = PlanRequest.model_fields
    fields: dict[str, Any] = {name: getattr(request, name) for name in type(request).model_fields if name in known}
    if isinstance(request, FinetuneRequest):
        fields["sources"] = [str(request.base), *request.sources]
    return words_of(PlanRequest.parse(fields), ("sources",), "--json")


def run_name(wanted: str, data: str, taken: Mapping[str, object] | set[str]) -> str:
    """The name of a new run's folder: as wanted, or after its data; without what folders cannot be called, and with a
    number behind it if it is taken."""
    name = sanitised(wanted) or sanitised(data.rstrip("/").rpartition("/")[2].partition(".")[0]) or "run"
    return next(one for n in range(1, len(taken) + 2) if (one := name if n == 1 else f"{name}-{n}") not in taken)


def sanitised(name: str) -> str:
    """A name without separators, control characters and what hides a folder or looks like an option."""
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" or c in '/\\:*?"<>|' else c for c in name)
    return re.sub(r"\s+", "_", kept.strip(" .-")).encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore").strip("._-")
