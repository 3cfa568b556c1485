"""From the fields that completions and conversations share to what the engine is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from gptsmith.generate.request import Constraint, Request, TokenLogprob, TopLogprob
from gptsmith.serve.errors import refused
from gptsmith.serve.openai.schemas.common import SamplingFields
from gptsmith.serve.served_models import ServedModel
from gptsmith.text.tokenizer import Tokenizer

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")


def check_sampling_fields(body: SamplingFields, served: ServedModel, num_sequences: int) -> None:
    """Checks what no schema can say.

    Raises:
        ApiError: fields do not go together, or ask for more than there is.
    """
    if body.stream_options is not None and not body.stream:
        raise refused("stream_options", "it is for streams: set stream to true")
    most = served.settings.max_choices
    if num_sequences > most:
        raise refused("n", f"{num_sequences} texts are asked for and one request may have {most}: ask for fewer")
    for token in body.logit_bias or {}:
        if int(token) >= served.vocab_size:
            raise refused("logit_bias", f"token {token} is not one of the {served.vocab_size:,} of this model")


def resolve_max_tokens(given: int | None, default: int, served: ServedModel, param: str) -> int:
    """The most tokens that a text may have.

    Raises:
        ApiError: more are asked for than a text may have here.
    """
    most = served.settings.max_tokens
    if most is None:
        return default if given is None else given
    if given is not None and given > most:
        raise refused(param, f"{given} tokens are more than the {most} that a text may have here")
    return min(default, most) if given is None else given


def engine_request(
    body: SamplingFields,
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
    """What the engine is asked for.

    Raises:
        UserError: a setting of sampling is not allowed.
    """
    return Request(
        prompt_ids,
        max_tokens,
        served.sampling({name: getattr(body, name) for name in SAMPLING}),
        seed=seed,
        choice=choice,
        stop=[body.stop] if isinstance(body.stop, str) else body.stop or (),
        stop_ids=frozenset(body.stop_token_ids or ()),
        ignore_end=bool(body.ignore_eos),
        logit_bias={int(token): value for token, value in (body.logit_bias or {}).items()},
        top_logprobs=top_logprobs,
        prompt_logprobs=prompt_logprobs,
        constraint=constraint,
    )


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """The bytes of a token; of a special token, its spelling."""
    return tokenizer.decode_bytes([token], keep_special=True)


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token as OpenAI's completions spell it: text, or `bytes:\\xe2\\x80` where it is a part of a character."""
    data = token_bytes(tokenizer, token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class LogprobBuffer:
    """Tokens that wait for the chunk that carries their text."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[TokenLogprob]] = {}

    def with_text(self, number: int, tokens: Sequence[TokenLogprob], is_ready: bool) -> list[TokenLogprob]:
        """The tokens that go with what is sent of a text now."""
        waiting = [*self._waiting.pop(number, []), *tokens]
        if is_ready:
            return waiting
        self._waiting[number] = waiting
        return []


def likeliest_first(told: TokenLogprob) -> Sequence[TopLogprob]:
    """The alternatives, each once."""
    return list({one.id: one for one in told.top_logprobs}.values())
