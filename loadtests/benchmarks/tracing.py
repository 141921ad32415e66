"""What tracing adds to a request: ``python -m loadtests.benchmarks.tracing``.

The application with a stand-in for the ensembles is asked in this process, so that little else costs anything: without
tracing, with each request traced, and with one in a hundred, in turns. A collector runs in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from fastapi import FastAPI

from loadtests.vectorize.measure import ROOT
from serve.api.middleware.request_trace import RequestTrace
from serve.observability import tracing
from serve.observability.tracing import export
from serve.settings import TracingSettings

WAYS: dict[str, float | None] = {"off": None, "every request": 1.0, "one in a hundred": 0.01}
STEPS = 50
"""Events of one request: as a picture has."""
CHILDREN = 5
_COLLECT = "collect"


def main(arguments_given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of each way, in turns")
    parser.add_argument("--requests", type=int, default=300, help="of each round")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "tracing.json")
    arguments = parser.parse_args(arguments_given)
    with subprocess.Popen([sys.executable, "-m", __spec__.name, _COLLECT], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        found = {name: [] for name in WAYS}  # type: dict[str, list[float]]
        for _ in range(arguments.rounds):
            for name, ratio in WAYS.items():
                found[name].append(asyncio.run(measure(url, ratio, arguments.requests)))
        child.terminate()
    print(table(found))
    load = os.getloadavg()
    print(f"\nload average {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f} on {os.cpu_count()} cores at the end")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"cores": os.cpu_count(), "load": load, "us": found}, indent=1))


def application() -> RequestTrace:
    """A request with what a picture has: parts, and steps as events."""
    app = FastAPI()

    @app.get("/drawing")
    async def draw() -> dict[str, int]:
        for _ in range(CHILDREN):
            with tracing.span("part", atelier__rows=1):
                tracing.note(atelier__tier="2")
        with tracing.span("paint"):
            for i in range(STEPS):
                with tracing.step("step", step=i, timestep=float(i), rows=2):
                    pass
        return {"steps": STEPS}

    return RequestTrace(app, requests=False)


async def measure(url: str, ratio: float | None, requests: int) -> float:
    """Microseconds of processor time for one request, this process's threads together."""
    if ratio is not None:
        export.start(TracingSettings(endpoint=url, sample_ratio=ratio), "Bench")
    transport = httpx.ASGITransport(application())
    async with httpx.AsyncClient(transport=transport, base_url="http://bench") as client:
        for _ in range(20):
            await client.get("/drawing")
        began = time.process_time()
        for _ in range(requests):
            await client.get("/drawing")
        await asyncio.to_thread(export.stop)
        return (time.process_time() - began) / requests * 1e6


def table(found: dict[str, list[float]]) -> str:
    off = statistics.median(found["off"])
    rows = [
        f"| {name} | {statistics.median(times):.0f} | {statistics.median(times) - off:+.0f} |"
        for name, times in found.items()
    ]
    head = f"| tracing of a request with {CHILDREN + 1} parts and {STEPS} steps | processor time, µs | added |"
    return "\n".join([head, "|---|---|---|", *rows])


def collect() -> None:
    """Takes what comes, and looks at none of it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] == [_COLLECT]:
        collect()
    else:
        main()
