"""The process in front: it refuses what may not come in, and passes the rest on to a replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from gptsmith.serve.auth import ApiKeys
from gptsmith.serve.errors import RETRY_AFTER_S, ApiError
from gptsmith.serve.hosts import AllowedHosts
from gptsmith.serve.metrics import RequestMetrics
from gptsmith.serve.middleware import RequestMiddleware
from gptsmith.serve.parsing import SHORT_BYTES, body_bytes
from gptsmith.serve.replicas.exchange import Answer, LostError, RawRequest, RefusedError, answer_of
from gptsmith.serve.replicas.keeper import Keeper
from gptsmith.serve.replicas.metrics import merged_metrics
from gptsmith.serve.replicas.routing import Replica, Router, ties_of
from gptsmith.serve.route import ANSWERED_FOR_ALL
from gptsmith.serve.routes import ROUTES
from gptsmith.serve.server_sent_events import until_disconnected
from gptsmith.serve.settings import ServeSettings

OK, TOO_MANY_REQUESTS, UNAVAILABLE = 200, 429, 503
ASK_ALL_S = 5.0
"""How long the process in front waits for a replica's own figures."""
LOOK_AGAIN_S = 0.2
"""A process that was killed closes its connections a moment before it is seen to be gone."""


@dataclass
class FrontState:
    """What the process in front keeps."""

    settings: ServeSettings
    host: str
    keys: ApiKeys | None
    keeper: Keeper
    is_draining: bool = False
    num_active_requests: int = 0
    metrics: RequestMetrics = field(default_factory=RequestMetrics)
    hosts: AllowedHosts = field(init=False)

    def __post_init__(self) -> None:
        self.hosts = AllowedHosts(self.host, self.settings.hosts)

    def cancel_all(self) -> None:
        """Ends every text that is being written."""
        self.keeper.release_all()

    def has_ended(self, _: float) -> bool:
        """Nothing of its own goes on."""
        return True


def make_front(state: FrontState) -> Starlette:
    """The application of the process in front. It ends the replicas when it ends."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with state.keeper.keeping():
            yield

    return Starlette(
        routes=[Mount("/", Front(state))],
        middleware=[Middleware(RequestMiddleware, state=state, routes=ROUTES)],
        lifespan=lifespan,
    )


class Front:
    """Answers for all replicas, or passes on."""

    def __init__(self, state: FrontState) -> None:
        self.state, self.router = state, Router(state.keeper.replicas)
        self._own = dict(zip(ANSWERED_FOR_ALL, (self._health, self._ready, self._metrics), strict=True))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        settings, has_body = self.state.settings, request.method not in ("GET", "HEAD")
        body = await body_bytes(request, settings.max_body_bytes, settings.body_timeout_s) if has_body else b""
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        raw = RawRequest(request.method, scope["raw_path"] + query, scope["headers"], body)
        own = None if has_body else self._own.get(scope["path"])
        if own is not None:
            await (await own(request, raw))(scope, receive, send)
            return
        await until_disconnected(self._pass_on(request, raw, send), receive)

    # Answers for all

    async def _health(self, _: Request, __: RawRequest) -> Response:
        """Whether this process lives."""
        return JSONResponse({"status": "draining" if self.state.is_draining else "ok"})

    async def _ready(self, _: Request, __: RawRequest) -> Response:
        """Whether one of them takes requests."""
        processes = [replica.process for replica in self.state.keeper.replicas if replica.is_up]
        room = [process.num_active < self.state.settings.max_sequences * len(process.models) for process in processes]
        full = "full" if room else "starting"
        status = "draining" if self.state.is_draining else "ready" if any(room) else full
        return JSONResponse({"status": status}, OK if status == "ready" else UNAVAILABLE)

    async def _metrics(self, request: Request, raw: RawRequest) -> Response:
        """The metrics of all, each with its number, and those of this process with the number 0."""
        kept = [(name, value) for name, value in raw.headers if name != b"accept"]
        openmetrics = [*kept, (b"accept", b"application/openmetrics-text; version=1.0.0")]
        answers = await self._all_answers(RawRequest("GET", raw.target, openmetrics, b""))
        texts = {replica.number: body.decode() for replica, status, body in answers if status == OK}
        data, content_type = merged_metrics(
            texts, self.state.keeper.replicas, self.state.metrics, request.headers.get("accept", "")
        )
        return Response(data, headers={"Content-Type": content_type})

    async def _all_answers(self, raw: RawRequest) -> list[tuple[Replica, int, bytes]]:
        """What each replica that is up answers."""

        async def one(replica: Replica) -> tuple[Replica, int, bytes] | None:
            try:
                async with asyncio.timeout(ASK_ALL_S), answer_of(replica.process.port, raw) as answer:
                    return replica, answer.status, await answer.body()
            except (LostError, TimeoutError):
                return None

        found = await asyncio.gather(*(one(replica) for replica in self.state.keeper.replicas if replica.is_up))
        return [answer for answer in found if answer is not None]

    # Passing on

    async def _pass_on(self, request: Request, raw: RawRequest, send: Send) -> None:
        """Lets the best replica answer, and the next one where it is busy or about to leave.

        Raises:
            ApiError: none can.
        """
        find = partial(ties_of, request.scope["path"], request.headers, raw.body)
        ties = find() if len(raw.body) <= SHORT_BYTES else await asyncio.to_thread(find)
        order = self.router.order(ties)
        for replica in order:
            process, is_last = replica.process, replica is order[-1]
            process.num_active += 1
            try:
                async with answer_of(process.port, raw) as answer:
                    if answer.status in (TOO_MANY_REQUESTS, UNAVAILABLE) and not is_last:
                        continue
                    self.router.answered(ties, replica)
                    request.scope["is_passed_on"] = True
                    await _send(answer, send)
                    return
            except RefusedError:
                continue
            except LostError:
                await asyncio.sleep(LOOK_AGAIN_S)
                if request.scope.get("is_passed_on") or process.exit_code not in (None, 0):
                    # It is not asked again: a request that ends a process must not end them all.
                    raise lost() from None
            finally:
                process.num_active -= 1
        raise ApiError(
            UNAVAILABLE,
            "no process is ready to answer: try again soon",
            code="no_replica",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )


def lost() -> ApiError:
    """The error for a request whose process has ended."""
    return ApiError(
        502,
        "the process that was to answer this request has ended: try again",
        code="replica_lost",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


async def _send(answer: Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    async for piece in answer.pieces():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
