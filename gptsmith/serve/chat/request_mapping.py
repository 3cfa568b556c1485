"""From the fields of a request to a request of the engine."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.generate.request import Constraint, Request
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.serve.chat.schemas.common import GenerationFields, SamplingFields
from gptsmith.serve.errors import refused, unsupported
from gptsmith.serve.served_model import ServedModel

SAMPLING_SETTINGS = SamplingSettings.model_fields.keys()
NUM_SEEDS = 2**63


def refuse_fields(body: GenerationFields, reasons: Mapping[str, str]) -> None:
    """Refuses the first of some fields that is set, with its reason.

    Raises:
        ApiError: one is set.
    """
    for name, reason in reasons.items():
        if getattr(body, name) not in (None, False, ""):
            raise unsupported(name, reason)


def check_sampling_fields(body: SamplingFields, served: ServedModel, num_sequences: int, field: str = "n") -> None:
    """Checks what no schema can say. `num_sequences` are those of each prompt, which `field` asks for.

    Raises:
        ApiError: fields do not go together, or ask for more than there is.
    """
    if body.stream_options is not None and not body.stream:
        raise refused("stream_options", "it is for streams: set stream to true")
    most = min(served.settings.max_choices, served.settings.max_sequences)
    if num_sequences > most:
        raise refused(field, f"{num_sequences} texts are requested and a prompt may have {most}: request fewer")
    for token in body.logit_bias or {}:
        if int(token) >= served.vocab_size:
            raise refused("logit_bias", f"token {token} is not one of the {served.vocab_size:,} of this model")


def resolve_max_tokens(given: int | None, default: int, served: ServedModel, param: str) -> int:
    """The most tokens of an answer: those requested, else the default, within the server's bound.

    Raises:
        ApiError: more are requested than the server allows; `param` names the field.
    """
    most = served.settings.max_tokens
    if most is None:
        return default if given is None else given
    if given is not None and given > most:
        raise refused(param, f"{given} tokens are more than the {most} that this server allows")
    return min(default, most) if given is None else given


def resolve_seed(given: int | None) -> int:
    """The seed that was given, or a new one; -1 asks for a new one, as with llama.cpp and vLLM."""
    return secrets.randbelow(NUM_SEEDS) if given in (None, -1) else given % NUM_SEEDS


def engine_request(
    body: GenerationFields,
    served: ServedModel,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    seed: int,
    choice: int,
    top_logprobs: int | None = None,
    prompt_logprobs: bool = False,
    constraint: Constraint | None = None,
) -> Request:
    """A request of the engine, sampled as the body says, else as the model usually is.

    Raises:
        UserError: a setting of sampling is not allowed.
    """
    sampling = {name: getattr(body, name) for name in SAMPLING_SETTINGS & type(body).model_fields.keys()}
    return Request(
        prompt_ids,
        max_tokens,
        served.sampling(sampling),
        seed=seed,
        choice=choice,
        top_logprobs=top_logprobs,
        prompt_logprobs=prompt_logprobs,
        constraint=constraint,
        **(_stopping(body) if isinstance(body, SamplingFields) else {}),
    )


def _stopping(body: SamplingFields) -> dict[str, Any]:
    """Where a text stops, and which tokens are more or less probable."""
    return {
        "stop": [body.stop] if isinstance(body.stop, str) else [text for text in body.stop or () if text],
        "stop_ids": frozenset(body.stop_token_ids or ()),
        "ignore_end": bool(body.ignore_eos),
        "logit_bias": {int(token): value for token, value in (body.logit_bias or {}).items()},
    }
