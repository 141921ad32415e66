"""Embedded Triton against the bare runtimes: ``python -m loadtests.bench_engines [--engine NAME ...]``.

The same ONNX file, in this process through ONNX Runtime or OpenVINO, and through ``Engines`` and the embedded Triton
with the same number of threads. The two take turns in one run, so that whatever else the machine does hits both alike;
the ratio is the median over the turns of (time through Triton) / (time bare) for the same work. Concurrency is tasks on
this side of Triton and threads on one session on the bare side.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests import synthetic_engines
from loadtests.vectorize.table import markdown
from serve.engines.client import Engines
from serve.engines.server import TritonServer
from serve.engines.zeros import zeros

Arrays = dict[str, NDArray[Any]]
Bare = Callable[[Arrays], object]
BACKENDS = ("onnxruntime", "openvino")
REPOSITORY = Path(__file__).parents[1] / "model_repository"


@dataclass(frozen=True)
class Cell:
    """One line of the table: medians in milliseconds per request of ``batch`` rows."""

    engine: str
    batch: int
    concurrency: int
    bare_ms: float
    triton_ms: float
    ratio: float


def bare_runtime(path: Path, backend: str, threads: int) -> Bare:
    """A call of the model in this process, with the runtime's own defaults but for the number of threads."""
    if backend == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options)
        return lambda inputs: session.run(None, inputs)
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return lambda inputs: compiled.create_infer_request().infer(inputs, share_inputs=True)


def bare_turn(run: Bare, inputs: Arrays, count: int, pool: ThreadPoolExecutor) -> float:
    """Seconds per request."""
    started = time.perf_counter()
    for finished in [pool.submit(run, inputs) for _ in range(count)]:
        finished.result()
    return (time.perf_counter() - started) / count


async def triton_turn(engines: Engines, engine: str, inputs: Arrays, count: int, concurrency: int) -> float:
    """Seconds per request."""
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await engines.infer(engine, inputs)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return (time.perf_counter() - started) / count


async def measure(
    engines: Engines, engine: str, run: Bare, inputs: Arrays, concurrency: int, repeats: int, seconds: float
) -> tuple[float, float, float]:
    """Median seconds per request (bare, through Triton) and the median ratio of the turns."""
    with ThreadPoolExecutor(concurrency) as pool:
        once = bare_turn(run, inputs, 2 * concurrency, pool)
        await triton_turn(engines, engine, inputs, 2 * concurrency, concurrency)
        count = max(concurrency * 2, round(seconds / once))
        turns = []
        for repeat in range(repeats):
            order = ("bare", "triton") if repeat % 2 else ("triton", "bare")
            taken = {}
            for side in order:
                taken[side] = (
                    bare_turn(run, inputs, count, pool)
                    if side == "bare"
                    else await triton_turn(engines, engine, inputs, count, concurrency)
                )
            turns.append((taken["bare"], taken["triton"], taken["triton"] / taken["bare"]))
    bare, triton, ratio = (statistics.median(column) for column in zip(*turns, strict=True))
    return bare, triton, ratio


def random_inputs(config: dict[str, Any], batch: int, seed: int = 0) -> Arrays:
    random = np.random.default_rng(seed)
    return {
        name: random.integers(0, 256, array.shape).astype(array.dtype)
        if array.dtype == np.uint8
        else random.random(array.shape).astype(array.dtype)
        for name, array in zeros(config, batch).items()
    }


def prepare(repository: Path, wanted: Sequence[str]) -> dict[str, str]:
    """Fill ``repository``: trained engines by name, or synthetic ones. Backend by engine."""
    backends = {}
    for name in wanted:
        shutil.copytree(REPOSITORY / name, repository / name)
        config = (repository / name / "config.pbtxt").read_text()
        backends[name] = next(backend for backend in BACKENDS if f'"{backend}"' in config)
    if not wanted:
        for engine in (synthetic_engines.image_network(), synthetic_engines.candidate_network()):
            print(f"{engine.name}: {8 * engine.mflops:.0f} MFLOPs at batch 8")
            for backend in BACKENDS:
                backends[synthetic_engines.write(engine, repository, backend)] = backend
    return backends


async def bench(arguments: argparse.Namespace) -> list[Cell]:
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        backends = prepare(repository, arguments.engine)
        server = TritonServer(repository, list(backends), threads=arguments.threads)
        await asyncio.to_thread(server.start)
        engines = Engines(server.url, timeout_s=60)
        try:
            for engine, backend in backends.items():
                run = bare_runtime(repository / engine / "1" / "model.onnx", backend, arguments.threads)
                config = await engines.config(engine)
                for batch in (size for size in arguments.batch if size <= config["max_batch_size"]):
                    inputs = random_inputs(config, batch)
                    for concurrency in arguments.concurrency:
                        bare, triton, ratio = await measure(
                            engines, engine, run, inputs, concurrency, arguments.repeats, arguments.seconds
                        )
                        cells.append(Cell(engine, batch, concurrency, 1e3 * bare, 1e3 * triton, ratio))
        finally:
            await engines.close()
            await asyncio.to_thread(server.stop)
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs="*", default=[], help="engines of model_repository (default: synthetic ones)")
    parser.add_argument("--batch", nargs="*", type=int, default=[1, 8, 32])
    parser.add_argument("--concurrency", nargs="*", type=int, default=[1, 8, 32])
    parser.add_argument("--threads", type=int, default=2, help="threads of one engine, on both sides")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn")
    arguments = parser.parse_args()
    cells = asyncio.run(bench(arguments))
    header = ["engine", "batch", "concurrency", "bare ms/request", "Triton ms/request", "Triton / bare"]
    lines = [
        [c.engine, str(c.batch), str(c.concurrency), f"{c.bare_ms:.2f}", f"{c.triton_ms:.2f}", f"{c.ratio:.2f}"]
        for c in cells
    ]
    print(markdown(header, lines))


if __name__ == "__main__":
    main()
