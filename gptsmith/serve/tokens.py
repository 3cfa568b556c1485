"""POST /tokenize and /detokenize: text to ids and back, as the model itself has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from gptsmith.serve.asking import token_text
from gptsmith.serve.bodies import DetokenizeBody, TokenizeBody
from gptsmith.serve.conversation import conversation_ids, plain_messages
from gptsmith.serve.errors import refused

if TYPE_CHECKING:
    from gptsmith.serve.app import Server


async def tokenize(server: Server, body: TokenizeBody, figures: dict[str, Any]) -> JSONResponse:
    """The ids of a text, or of a conversation with the beginning of its answer.

    Raises:
        ApiError: neither or both are given, or they cannot be read.
    """
    served = server.models.get(body.model)
    if (body.prompt is None) == (body.messages is None):
        raise refused("prompt", "give a prompt or messages, and not both")
    tokenizer = served.tokenizer

    def read() -> list[int]:
        if body.messages is not None:
            return conversation_ids(served, plain_messages(body.messages))
        text = body.prompt or ""
        return tokenizer.encode(text) if body.add_special_tokens is False else tokenizer.prompt_ids(text)

    with served.reserved(1):
        ids = await server.models.read(read)
    figures |= {"model": served.name, "prompt_tokens": len(ids)}
    words = [token_text(tokenizer, token) for token in ids] if body.return_token_strs else None
    return JSONResponse({"count": len(ids), "max_model_len": served.context_length, "tokens": ids, "token_strs": words})


async def detokenize(server: Server, body: DetokenizeBody, figures: dict[str, Any]) -> JSONResponse:
    """The text of ids; special tokens are spelt out.

    Raises:
        ApiError: the model has no such token.
    """
    served = server.models.get(body.model)
    if odd := [token for token in body.tokens if token >= served.tokenizer.vocab_size]:
        raise refused("tokens", f"{odd[0]} is not one of this model's {served.tokenizer.vocab_size:,} tokens")
    figures |= {"model": served.name}
    return JSONResponse({"prompt": served.tokenizer.decode(body.tokens, keep_special=True)})
