"""Plain FastAPI: an ONNX file in ONNX Runtime on a pool of threads, or a function of ours, behind uvicorn.

Run by ``loadtests.benchmarks.peers``: ``python -m loadtests.peers.fastapi_server onnx --path FILE --port PORT``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response

from loadtests.peers import wire

PATH, THREADS, STEPS = "PEER_PATH", "PEER_THREADS", "PEER_STEPS"
"""uvicorn's workers import this module anew: what they need is in the environment."""


def onnx() -> FastAPI:
    """``POST /infer``, KServe v2 in binary form. As many runs at once as there are threads."""
    import onnxruntime

    threads = int(os.environ[THREADS])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(os.environ[PATH], options)
    names = [output.name for output in session.get_outputs()]
    pool = ThreadPoolExecutor(threads)
    app = FastAPI()

    @app.post("/infer")
    async def infer(request: Request) -> Response:
        body = await request.body()
        inputs = wire.decode(body, int(request.headers[wire.HEADER_LENGTH]), "inputs")
        found = await asyncio.get_running_loop().run_in_executor(pool, session.run, None, inputs)
        data, header_length = wire.encode(dict(zip(names, found, strict=True)), "outputs")
        headers = {wire.HEADER_LENGTH: str(header_length)}
        return Response(data, media_type="application/octet-stream", headers=headers)

    return app


def diffusers() -> FastAPI:
    """``POST /draw``: diffusers' eager loop, one picture at a time, as PyTorch uses every core for one."""
    from loadtests.peers.drawing import painter

    draw = painter(Path(os.environ[PATH]), int(os.environ[STEPS]))
    pool = ThreadPoolExecutor(1)
    app = FastAPI()

    @app.post("/draw")
    async def answer(request: Request) -> Response:
        options = await request.json()
        png = await asyncio.get_running_loop().run_in_executor(pool, draw, options["prompt"], options["seed"])
        return Response(png, media_type="image/png")

    return app


def vectorizer() -> FastAPI:
    """``POST /convert``: the stack's own Vectorizer, without anything around it."""
    from serve.ensembles.vectorizer.vectorization import VectorizeOptions
    from serve.ensembles.vectorizer.vectorizer import Vectorizer
    from serve.settings import VectorizerSettings

    ours = Vectorizer(VectorizerSettings())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await ours.start()
        yield
        await ours.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/convert")
    async def convert(request: Request) -> Response:
        found = await ours.vectorize(await request.body(), VectorizeOptions(tier=1))
        return Response(found.svg, media_type="image/svg+xml")

    return app


def vtracer() -> FastAPI:
    """``POST /convert``: VTracer with its defaults, a thread for each core. Other work than ours: no model chooses."""
    from serve.vector.image import decode
    from serve.vector.parameters import VTracerParameters
    from serve.vector.trace import trace_vtracer

    pool = ThreadPoolExecutor(os.cpu_count())
    app = FastAPI()

    def trace(data: bytes) -> str:
        return trace_vtracer(decode(data).rgba, VTracerParameters())

    @app.post("/convert")
    async def convert(request: Request) -> Response:
        svg = await asyncio.get_running_loop().run_in_executor(pool, trace, await request.body())
        return Response(svg, media_type="image/svg+xml")

    return app


KINDS = ("onnx", "diffusers", "vectorizer", "vtracer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--path", default="", help="an ONNX file, or a checkpoint")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime, in each worker")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    os.environ |= {PATH: options.path, THREADS: str(options.threads), STEPS: str(options.steps)}
    uvicorn.run(
        f"loadtests.peers.fastapi_server:{options.kind}",
        factory=True,
        host="127.0.0.1",
        port=options.port,
        workers=options.workers,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
