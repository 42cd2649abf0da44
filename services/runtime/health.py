"""The pages every worker has: /metrics, /healthz, /readyz, and whatever routes the worker adds.

The one rule: /healthz says that the event loop beats and nothing about Kafka; a probe that fails with the brokers would
restart every worker just when they come back. The probes are everybody's; /metrics only theirs who are on this machine or have its token.
"""

import asyncio
import contextlib
import hmac
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from services.runtime.failures import WorkerFailed
from services.runtime.logs import log
from services.runtime.metrics import Metrics

BEAT_INTERVAL_S = 0.5
BEAT_LIMIT_S = 10.0
UNREADY_LOG_INTERVAL_S = 5.0
"""One line for all partitions: with a restore's progress for each."""
CONNECTIONS_MAX = 256
CLOSE_LIMIT_S = 2
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METRICS_CLOSED = "Metrics are shown on loopback only. To read them elsewhere, give the worker a token in CHAT_METRICS_TOKEN.\n"

_log = log(__name__)


class Health:
    """What /healthz and /readyz answer. Each part of a worker adds its own question to `unready`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._questions: list[Callable[[], str]] = []
        self._beat_s = time.monotonic()

    def ready_when(self, unready: Callable[[], str]) -> None:
        """Adds a question: the answer is why the worker is not ready, or an empty text."""
        self._questions.append(unready)

    @property
    def alive(self) -> bool:
        """Whether the loop has beaten lately."""
        return time.monotonic() - self._beat_s < BEAT_LIMIT_S

    @property
    def unready(self) -> str:
        """Why the worker is not ready, or nothing. A worker nobody has vouched for is not ready."""
        if not self._questions:
            return "starting"
        return "; ".join(reason for ask in self._questions if (reason := ask()))

    async def beat(self) -> None:
        """Beats until cancelled, and says now and then why the worker is not ready."""
        told_s = time.monotonic()
        while True:
            due_s = time.monotonic() + BEAT_INTERVAL_S
            await asyncio.sleep(BEAT_INTERVAL_S)
            self._beat_s = time.monotonic()
            self._metrics.set("loop_delay_seconds", max(0.0, self._beat_s - due_s))
            if self._beat_s - told_s >= UNREADY_LOG_INTERVAL_S and (why := self.unready):
                told_s = self._beat_s
                _log.info("not_ready", why=why.split("; "))


def is_loopback(host: str) -> bool:
    """Say whether whoever listens there is heard on this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals are the worker's own business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Pages:
    """The HTTP server of a worker, as an async context manager; `port` is known once entered."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        health: Health,
        metrics: Metrics,
        metrics_token: str | None = None,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self.port = port
        self._host = host
        self._health = health
        self._metrics = metrics
        self.metrics_token = metrics_token
        own = [
            Route("/metrics", self._show_metrics),
            Route("/healthz", self._show_health),
            Route("/readyz", self._show_readiness),
        ]
        self.app = Starlette(routes=[*own, *routes])
        self.app.router.redirect_slashes = False  # what is not served is refused
        self._tasks: list[asyncio.Task[None]] = []
        self._server: _Server | None = None

    async def __aenter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self.port))
            listener.listen()
        except OSError as error:
            listener.close()
            raise WorkerFailed(
                f"Port {self.port} of {self._host} can't be used ({error.strerror}): set CHAT_HTTP_PORT to a free one."
            ) from error
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=CLOSE_LIMIT_S,
            server_header=False,
        )
        self._server = _Server(config)
        self._tasks = [
            asyncio.create_task(self._server.serve(sockets=[listener]), name="pages"),
            asyncio.create_task(self._health.beat(), name="beat"),
        ]
        _log.info("pages", host=self._host, port=self.port)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        self._server.should_exit = True
        serving, beating = self._tasks
        beating.cancel()
        await asyncio.wait({serving}, timeout=2 * CLOSE_LIMIT_S)
        serving.cancel()
        await asyncio.wait(self._tasks)

    async def _show_metrics(self, request: Request) -> Response:
        if self.metrics_token is not None:
            given = request.headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, f"Bearer {self.metrics_token}".encode()):
                return PlainTextResponse("a token is needed\n", 401, headers={"www-authenticate": "Bearer"})
        elif not is_loopback(self._host):
            return PlainTextResponse(METRICS_CLOSED, 403)
        return Response(self._metrics.render(), headers={"content-type": METRICS_TYPE})

    async def _show_health(self, _request: Request) -> Response:
        alive = self._health.alive
        return PlainTextResponse("alive" if alive else "the event loop is stuck", 200 if alive else 503)

    async def _show_readiness(self, _request: Request) -> Response:
        unready = self._health.unready
        return PlainTextResponse(unready or "ready", 503 if unready else 200)
