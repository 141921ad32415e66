"""Processor time of a gateway per conversion, with history and cache: ``python -m loadtests.benchmarks.gateway``.

The whole middleware of a gateway in this process, as Ray Serve's server calls it: from the scope of a request to the
messages of its answer, every layer, history, cache, object store and log on. Without a socket, and without a replica:
the ensemble answers at once. So it says what the gateway's own code costs, and says the same beside other work: the
smallest of several runs counts. ``--flame`` writes a flame graph of the last of them, by py-spy.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop
from pydantic import SecretStr
from starlette.types import ASGIApp

from loadtests.load.callers import ANEW
from loadtests.load.drawings import DRAWINGS, encoded
from loadtests.peers.whole_jobs import FORM, SIDE_PX, form
from loadtests.queue.postgresql import PostgreSQL
from loadtests.vectorize.table import markdown
from serve.api.app import answer, create_app
from serve.api.inference.hot_route import HotInference
from serve.api.middleware.admission import Admission
from serve.api.middleware.authentication import Authentication, AuthenticationMiddleware
from serve.api.middleware.client_address import ClientAddress
from serve.api.middleware.deadlines import RequestReceived
from serve.api.middleware.hot_routes import HotRoutes
from serve.api.middleware.request_trace import RequestTrace
from serve.api.middleware.response_headers import RequestId, ScrubHeaders
from serve.api.native.conversion import HotConversions
from serve.ensembles.vectorizer.vectorization import Vectorization, VectorizeOptions
from serve.jobs.direct.service import DirectService
from serve.settings import Settings, load
from serve.state import State

SQLITE, POSTGRESQL = "sqlite", "postgresql"
COMPUTED, CACHED = "computed", "from the cache"
WARM = 50
"""Requests before the first run."""
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256"><path d="M0 0h256v256H0z" fill="#1b4332"/></svg>'
)


class Instant:
    """A Vectorizer without work."""

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        versions = await self.versions()
        return Vectorization(
            svg=_SVG, logo_type="simple", confidence=0.9, tier="1", tracer="vtracer", predicted_quality=0.95,
            actual_quality=None, bytes=len(_SVG), paths=1, parameters={}, model_versions=versions, timings_s={},
            input_sha256="0" * 64, width=SIDE_PX, height=SIDE_PX, processing_time_s=0.01,
        )  # fmt: skip

    async def versions(self) -> Mapping[str, str]:
        return {"quality": "1"}

    async def engines(self) -> list[str]:
        return ["quality"]


@contextlib.asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[ASGIApp]:
    """The layers of `serve.cluster.ingress` around the application."""
    state, service = await State.open(settings), Instant()
    entrance = await Authentication.opened(state)
    direct = DirectService(state, None, service, settings)  # type: ignore[arg-type]
    await direct.start()
    app = create_app(service, settings, state=state, direct=direct, entrance=entrance)  # type: ignore[arg-type]
    hot = HotRoutes([HotInference(app.state.models, settings), HotConversions(app)], settings, answer)
    inner: Any = Admission(app, settings.limits, settings.gateway, answer, lambda: hot)
    inner = RequestTrace(AuthenticationMiddleware(inner, lambda: entrance), settings.logs.requests)
    try:
        yield RequestId(ScrubHeaders(ClientAddress(RequestReceived(inner), settings)))
    finally:
        await direct.close()
        await entrance.close()
        await state.close()


def conversion(app: ASGIApp, headers: Mapping[str, str]) -> Callable[[], Awaitable[None]]:
    """Sends a conversion as an HTTP server does. Raises ValueError for an answer without an SVG."""
    body = form(encoded(next(iter(DRAWINGS)), SIDE_PX))
    lines = {"host": "127.0.0.1:8000", "content-length": str(len(body)), "content-type": FORM, **headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in lines.items()]

    async def send_request() -> None:
        messages: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/api/convert-ai", "raw_path": b"/api/convert-ai", "query_string": b"", "root_path": "",
            "headers": list(raw), "client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 8000), "state": {},
        }  # fmt: skip

        async def receive() -> Any:
            if messages:
                return messages.pop()
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        if sent[0]["status"] != 200 or b"<svg" not in sent[1]["body"]:
            raise ValueError(f"no SVG: {sent}")

    return send_request


async def milliseconds(request: Callable[[], Awaitable[None]], callers: int, count: int, runs: int) -> float:
    """Of this process's threads together, per request, in the cheapest run."""

    async def call() -> None:
        for _ in range(count // callers):
            await request()

    for _ in range(WARM):
        await request()
    found = []
    for _ in range(runs):
        began = time.process_time()
        await asyncio.gather(*(call() for _ in range(callers)))
        found.append((time.process_time() - began) / (count // callers * callers))
    return 1e3 * min(found)


@contextlib.contextmanager
def flame_graph(path: Path | None) -> Iterator[None]:
    """Records this process into ``path`` within the block."""
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--gil", "--rate", "500", "--output", str(path)]
    recording = subprocess.Popen([*command, "--pid", str(os.getpid())], stdout=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        yield
    finally:
        recording.send_signal(2)
        recording.wait(60)


@contextlib.contextmanager
def settings_of(kind: str) -> Iterator[Settings]:
    """A site in a folder of its own, without keys and without rate limits, with its request log in a file."""
    with tempfile.TemporaryDirectory(prefix="atelier-gateway-") as name, contextlib.ExitStack() as stack:
        values: dict[str, Any] = {"state_dir": name, "access": {"required": "off"}}
        values["rates"] = {"per_address": False, "per_user": False}
        if kind == POSTGRESQL:
            server = stack.enter_context(PostgreSQL.started())
            values["database"] = {"url": SecretStr(server.new_database("gateway"))}
        log = logging.FileHandler(Path(name) / "requests.log")
        logger = logging.getLogger("serve.requests")
        logger.handlers, logger.propagate = [log], False
        logger.setLevel(logging.INFO)
        yield load(**values)
        log.close()


async def measure(settings: Settings, options: argparse.Namespace) -> dict[str, list[float]]:
    """By kind of answer, for each number of callers."""
    found: dict[str, list[float]] = {}
    async with gateway(settings) as app:
        for kind, headers in ((COMPUTED, ANEW), (CACHED, {})):
            request = conversion(app, {"Accept": "image/svg+xml", **headers})
            costs = [await milliseconds(request, callers, options.count, options.runs) for callers in options.callers]
            found[kind] = costs
            if options.flame is not None:
                with flame_graph(options.flame / f"conversion-{kind.replace(' ', '-')}.svg"):
                    await milliseconds(request, options.callers[0], options.count, options.runs)
    return found


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", nargs="+", choices=(SQLITE, POSTGRESQL), default=(SQLITE, POSTGRESQL))
    parser.add_argument("--callers", nargs="+", type=int, default=(1, 8))
    parser.add_argument("--count", type=int, default=200, help="requests of a run")
    parser.add_argument("--runs", type=int, default=6, help="of which the cheapest counts")
    parser.add_argument("--flame", type=Path, help="a folder for flame graphs")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args(given)
    lines, kept = [], {}
    for database in options.database:
        with settings_of(database) as settings, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            kept[database] = runner.run(measure(settings, options))
        for kind, costs in kept[database].items():
            lines.append([f"{database}, {kind}", *(f"{cost:.2f}" for cost in costs)])
    print(markdown(["gateway, ms of processor time", *(f"{n} callers" for n in options.callers)], lines))
    if options.out is not None:
        options.out.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
