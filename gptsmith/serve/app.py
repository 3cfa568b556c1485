"""The routes of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gptsmith.serve.bodies import (
    Body,
    ChatBody,
    CompletionBody,
    DetokenizeBody,
    EmbeddingBody,
    ResponseBody,
    TokenizeBody,
    read_body,
)
from gptsmith.serve.chat import chat_completions
from gptsmith.serve.completions import completions
from gptsmith.serve.embeddings import embeddings
from gptsmith.serve.errors import ApiError, answer_error
from gptsmith.serve.guard import Guard, host_name, is_address, is_loopback, own_names
from gptsmith.serve.keys import Keys
from gptsmith.serve.metrics import Metrics
from gptsmith.serve.models import Models
from gptsmith.serve.openapi import document
from gptsmith.serve.page_files import FOLDER, PageFiles
from gptsmith.serve.responses import responses
from gptsmith.serve.settings import ServeSettings
from gptsmith.serve.stream import unless_gone
from gptsmith.serve.tokens import detokenize, tokenize

B = TypeVar("B", bound=Body)


class Server:
    """What the routes share.

    Attributes:
        is_draining: whether it is about to leave, and takes no new requests.
        num_answering: requests that are being answered.
    """

    def __init__(
        self, models: Models, settings: ServeSettings, *, host: str = "127.0.0.1", keys: Keys | None = None,
        page: Path = FOLDER,
    ) -> None:  # fmt: skip
        self.models, self.settings, self.keys = models, settings, keys
        self.metrics = Metrics()
        self.metrics.watch(models)
        self.is_draining = False
        self.num_answering = 0
        self.page = PageFiles(page)
        self._names, self._is_loopback = own_names(host, settings.hosts), is_loopback(host)

    def is_own_host(self, host: str) -> bool:
        """Whether a Host header names this server: by one of its names or, where others can reach it, by an address."""
        name = host_name(host)
        return name in self._names or (not self._is_loopback and is_address(name))

    def app(self) -> Starlette:
        """The ASGI application. It closes the models when it ends."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            yield
            self.models.close()

        posts = [
            Route(path, route, methods=["POST"])
            for path, route in (
                ("/v1/completions", self._post(CompletionBody, completions)),
                ("/v1/chat/completions", self._post(ChatBody, chat_completions)),
                ("/v1/responses", self._post(ResponseBody, responses)),
                ("/v1/embeddings", self._post(EmbeddingBody, embeddings)),
                ("/tokenize", self._post(TokenizeBody, tokenize)),
                ("/detokenize", self._post(DetokenizeBody, detokenize)),
            )
        ]
        routes = [
            Route("/", self.page.index),
            Route("/page/{name}", self.page.named),
            Route("/health", self._health),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
            Route("/v1/models", self._list_models),
            Route("/v1/models/{name:path}", self._model),
            *posts,
        ]
        app = Starlette(
            routes=routes,
            middleware=[Middleware(Guard, server=self)],
            exception_handlers={ApiError: answer_error, HTTPException: answer_error},
            lifespan=lifespan,
        )
        app.router.redirect_slashes = False
        return app

    def _post(
        self, kind: type[B], answer: Callable[[Server, B, dict[str, Any]], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def route(request: Request) -> Response:
            body = await read_body(request, kind, self.settings)
            return await unless_gone(request, answer(self, body, request.scope["figures"]))

        return route

    async def _health(self, _: Request) -> Response:
        status = "draining" if self.is_draining else "ok"
        return JSONResponse({"status": status}, 503 if self.is_draining else 200)

    async def _metrics(self, request: Request) -> Response:
        data, content_type = self.metrics.text(request.headers.get("accept", ""))
        return Response(data, headers={"Content-Type": content_type})

    async def _openapi(self, _: Request) -> Response:
        return JSONResponse(document(self.keys is not None, list(self.models.by_name)))

    async def _list_models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [served.card for served in self.models.by_name.values()]})

    async def _model(self, request: Request) -> Response:
        return JSONResponse(self.models.get(request.path_params["name"]).card)
