"""The server: OpenAI's routes over the engines of its models."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gptsmith.serve.answers import Answer
from gptsmith.serve.bodies import (
    ChatBody,
    CompletionBody,
    DetokenizeBody,
    EmbeddingBody,
    TokenizeBody,
    read_body,
)
from gptsmith.serve.errors import ApiError, answer_error, api_error, refused
from gptsmith.serve.metrics import Metrics
from gptsmith.serve.middleware import Doorkeeper
from gptsmith.serve.models import Models
from gptsmith.serve.requests import chat_requests, completion_requests, conversation_ids
from gptsmith.serve.settings import ServeSettings
from gptsmith.serve.writing import Writing, Written

DONE = b"data: [DONE]\n\n"
PING = b": still here\n\n"


class Server:
    """The routes, and what they share."""

    def __init__(self, models: Models, settings: ServeSettings, keys: frozenset[str]) -> None:
        self.models, self.settings, self.metrics = models, settings, Metrics()
        self.is_draining = False
        self.metrics.watch(models)
        routes = [
            Route("/v1/models", self.list_models),
            Route("/v1/models/{name:path}", self.show_model),
            Route("/v1/completions", self.complete, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/embeddings", self.embed, methods=["POST"]),
            Route("/tokenize", self.tokenize, methods=["POST"]),
            Route("/detokenize", self.detokenize, methods=["POST"]),
            Route("/health", self.health),
            Route("/metrics", self.show_metrics),
        ]
        handlers: dict[Any, Any] = {ApiError: answer_error, HTTPException: answer_error, Exception: answer_error}
        starlette = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        self.app = Doorkeeper(starlette, self, keys)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self.models.close()

    async def list_models(self, _: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [served.card() for served in self.models.by_name.values()]})

    async def show_model(self, request: HttpRequest) -> Response:
        return JSONResponse(self.models.get(request.path_params["name"]).card())

    async def health(self, _: HttpRequest) -> Response:
        return JSONResponse({"status": "draining" if self.is_draining else "ok"}, 503 if self.is_draining else 200)

    async def show_metrics(self, request: HttpRequest) -> Response:
        content, kind = self.metrics.text(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": kind})

    async def complete(self, request: HttpRequest) -> Response:
        """Texts that go on from prompts."""
        body = await read_body(request, CompletionBody, self.settings)
        served = self.models.get(body.model)
        writing = Writing(served, self.metrics)
        choices, best_of = body.n or 1, body.best_of or body.n or 1
        writing.texts_per_prompt = best_of
        answer = Answer(served, "cmpl", "text_completion")
        try:
            requests = await self._read(lambda: completion_requests(body, served, self.settings), "prompt")
            writing.reserve(len(requests))
            await writing.begin(self.models, requests, "prompt")
        except BaseException:
            writing.close()
            raise
        tells = body.logprobs is not None
        echoes = [served.tokenizer.decode(r.prompt_ids) if body.echo else "" for r in requests]

        def chunk(number: int, text: str, written: Written, offset: int) -> dict[str, Any]:
            told = [*written.prompt, *written.tokens]
            return answer.text_choice(number, text, told, written.finish_reason or None, tells=tells, offset=offset)

        if not body.stream:
            texts = await self._whole(request, writing)
            kept = [
                group[place]
                for start in range(0, len(texts), best_of)
                for group in [list(zip(texts, echoes, strict=True))[start : start + best_of]]
                for place in _best(group, choices)
            ]
            shown = [chunk(number, echo + text.text, text, 0) for number, (text, echo) in enumerate(kept)]
            return JSONResponse(answer.body(shown, usage=writing.usage()))

        async def chunks() -> AsyncIterator[dict[str, Any]]:
            offsets = [0] * len(requests)
            async for item in writing.pieces(self.settings.ping_s):
                if item is None:
                    yield {}
                    continue
                number, piece = item
                text = echoes[number] + piece.text
                echoes[number] = ""
                now = Written(text, list(piece.tokens), list(piece.prompt), piece.finish_reason or "")
                yield answer.body([chunk(number, text, now, offsets[number])])
                offsets[number] += len(text)

        return self._stream(writing, chunks(), answer, body.stream_options)

    async def chat(self, request: HttpRequest) -> Response:
        """What a model answers to a conversation."""
        body = await read_body(request, ChatBody, self.settings)
        served = self.models.get(body.model)
        writing = Writing(served, self.metrics)
        writing.texts_per_prompt = body.n or 1
        answer = Answer(served, "chatcmpl", "chat.completion.chunk" if body.stream else "chat.completion")
        try:
            requests = await self._read(lambda: chat_requests(body, served, self.settings), "messages")
            writing.reserve(len(requests))
            await writing.begin(self.models, requests, "messages")
        except BaseException:
            writing.close()
            raise

        def logprobs(written: Written) -> dict[str, Any] | None:
            return answer.chat_logprobs(written.tokens) if body.logprobs else None

        if not body.stream:
            shown = [
                {
                    "index": number,
                    "message": {"role": "assistant", "content": text.text, "refusal": None},
                    "logprobs": logprobs(text),
                    "finish_reason": text.finish_reason,
                }
                for number, text in enumerate(await self._whole(request, writing))
            ]
            return JSONResponse(answer.body(shown, usage=writing.usage()))

        async def chunks() -> AsyncIterator[dict[str, Any]]:
            for number in range(len(requests)):
                delta: dict[str, Any] = {"role": "assistant", "content": ""}
                yield answer.body([{"index": number, "delta": delta, "logprobs": None, "finish_reason": None}])
            async for item in writing.pieces(self.settings.ping_s):
                if item is None:
                    yield {}
                    continue
                number, piece = item
                delta = {"content": piece.text} if piece.text or piece.tokens else {}
                told = logprobs(Written(tokens=list(piece.tokens)))
                yield answer.body(
                    [{"index": number, "delta": delta, "logprobs": told, "finish_reason": piece.finish_reason}]
                )

        return self._stream(writing, chunks(), answer, body.stream_options)

    async def embed(self, request: HttpRequest) -> Response:
        """The mean of the last layer's states over each text."""
        body = await read_body(request, EmbeddingBody, self.settings)
        served = self.models.get(body.model)
        if body.dimensions not in (None, served.loaded.config.embed_dim):
            raise refused("dimensions", f"this model's embeddings have {served.loaded.config.embed_dim}")
        given = body.input
        texts: list[Any] = [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)
        if len(texts) > self.settings.max_inputs:
            raise refused("input", f"{len(texts)} texts are more than the {self.settings.max_inputs} allowed")

        def ids_of(text: Any) -> list[int]:
            return served.tokenizer.prompt_ids(text) if isinstance(text, str) else list(text)

        ids = await self._read(lambda: [ids_of(text) for text in texts], "input")
        if odd := [number for row in ids for number in row if number >= served.vocab_size]:
            raise refused("input", f"there is no token {odd[0]}: they go up to {served.vocab_size - 1}")
        try:
            vectors = [await asyncio.wrap_future(served.engine.embed(row)) for row in ids]
        except Exception as error:
            raise api_error(error, "input") from error
        used = sum(map(len, ids))
        rows = [
            {"object": "embedding", "index": number, "embedding": _packed(vector, body.encoding_format)}
            for number, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": used, "total_tokens": used}
        return JSONResponse(
            {"object": "list", "data": rows, "model": served.name, "usage": usage, "method": "mean of the last layer"}
        )

    async def tokenize(self, request: HttpRequest) -> Response:
        """The ids of a text or of a conversation."""
        body = await read_body(request, TokenizeBody, self.settings)
        served = self.models.get(body.model)
        if (body.prompt is None) == (body.messages is None):
            raise refused("prompt", "give a prompt or messages, and not both")
        messages, prompt = body.messages, body.prompt or ""

        def ids_of() -> list[int]:
            if messages is not None:
                return conversation_ids(messages, served)
            opening = served.tokenizer.opening_ids if body.add_special_tokens else ()
            return [*opening, *served.tokenizer.encode(prompt)]

        ids = await self._read(ids_of, "prompt")
        words = {"token_strs": [served.tokenizer.decode([number], keep_special=True) for number in ids]}
        more = words if body.return_token_strs else {}
        return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": served.context_length, **more})

    async def detokenize(self, request: HttpRequest) -> Response:
        """The text of ids."""
        body = await read_body(request, DetokenizeBody, self.settings)
        served = self.models.get(body.model)
        if odd := [number for number in body.tokens if number >= served.vocab_size]:
            raise refused("tokens", f"there is no token {odd[0]}: they go up to {served.vocab_size - 1}")
        return JSONResponse({"prompt": served.tokenizer.decode(body.tokens, keep_special=True)})

    async def _read(self, work: Callable[[], Any], param: str) -> Any:
        """What a function gives on the thread that reads prompts; its errors are of the field `param`."""
        try:
            return await self.models.read(work)
        except Exception as error:
            raise api_error(error, param) from error

    async def _whole(self, request: HttpRequest, writing: Writing) -> list[Written]:
        """All texts, unless the client leaves before they have ended."""
        texts = asyncio.create_task(writing.whole())
        left = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({texts, left}, return_when=asyncio.FIRST_COMPLETED)
            if not texts.done():
                raise ApiError(499, "the client left")
            return await texts
        finally:
            for task in (texts, left):
                task.cancel()
            writing.close()

    def _stream(
        self, writing: Writing, chunks: AsyncIterator[dict[str, Any]], answer: Answer, options: Any
    ) -> StreamingResponse:
        """Chunks as events; the texts end when the client leaves."""
        with_usage = bool(options and options.include_usage)

        async def events() -> AsyncIterator[bytes]:
            try:
                async for chunk in chunks:
                    if not chunk:
                        yield PING
                        continue
                    yield _event({**chunk, "usage": None} if with_usage else chunk)
                if with_usage:
                    yield _event(answer.body([], usage=writing.usage()))
                yield DONE
            except ApiError as error:
                yield _event(error.body())
            finally:
                writing.close()

        return StreamingResponse(
            events(), media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )


async def _left(request: HttpRequest) -> None:
    """Returns when the client has left."""
    receive: Callable[[], Awaitable[Any]] = request.receive
    while (await receive())["type"] != "http.disconnect":
        pass


def _best(group: list[tuple[Written, str]], count: int) -> list[int]:
    """The places of the likeliest texts of a group, the likeliest first; all as they are where none is to go."""
    if count == len(group):
        return list(range(count))
    return sorted(range(len(group)), key=lambda place: -group[place][0].mean_logprob)[:count]


def _packed(vector: list[float], encoding: str | None) -> list[float] | str:
    if encoding != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"
