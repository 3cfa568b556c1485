"""POST /tokenize and /detokenize: text to ids and back, as the model itself has them."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gptsmith.serve.chat.logprobs import token_text
from gptsmith.serve.chat.messages import chat_prompt, flatten_messages, takes_calls, with_call_ids
from gptsmith.serve.errors import refused
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.openai.schemas.tokenize import DetokenizeRequest, TokenizeRequest
from gptsmith.serve.state import State


async def tokenize(state: State, body: TokenizeRequest, log_fields: dict[str, Any]) -> Response:
    """The ids of a text, or of a conversation with the beginning of its answer.

    Raises:
        ApiError: neither or both are given, or they cannot be read.
    """
    served = await state.models.get(body.model)
    if (body.prompt is None) == (body.messages is None):
        raise refused("prompt", "give a prompt or messages, and not both")
    tokenizer = served.tokenizer

    def read() -> list[int]:
        if body.messages is not None:
            form, messages = served.template().call_form, body.messages
            messages = messages if form is None else with_call_ids(messages, form)
            flat = flatten_messages(messages, with_calls=takes_calls(served.template(), messages))
            return chat_prompt(served, flat, body.chat_template_kwargs, must_fit=False).token_ids
        text = body.prompt or ""
        return tokenizer.encode(text) if body.add_special_tokens is False else tokenizer.prompt_ids(text)

    def answer() -> bytes:
        ids = read()
        log_fields["prompt_tokens"] = len(ids)
        spelled = [token_text(tokenizer, token) for token in ids] if body.return_token_strs else None
        return json_bytes(
            {"count": len(ids), "max_model_len": served.context_length, "tokens": ids, "token_strs": spelled}
        )

    log_fields["model"] = served.name
    with served.reserved(1):
        return Response(await state.models.workers.run_on_reader(answer), media_type="application/json")


async def detokenize(state: State, body: DetokenizeRequest, log_fields: dict[str, Any]) -> Response:
    """The text of ids; special tokens are spelt out.

    Raises:
        ApiError: the model has no such token.
    """
    served = await state.models.get(body.model)

    def answer() -> bytes:
        if odd := [token for token in body.tokens if token >= served.tokenizer.vocab_size]:
            raise refused("tokens", f"{odd[0]} is not one of this model's {served.tokenizer.vocab_size:,} tokens")
        return json_bytes({"prompt": served.tokenizer.decode(body.tokens, keep_special=True)})

    log_fields |= {"model": served.name}
    return Response(await state.models.workers.run_on_reader(answer), media_type="application/json")
