"""Embedded Triton against the bare runtimes: ``python -m loadtests.benchmarks.engines [--engine NAME ...]``.

The same ONNX file, in this process through ONNX Runtime or OpenVINO, and through ``EngineClient`` and embedded Triton
with the same number of threads. The two take turns in one run, so that whatever else the machine does hits both alike;
the ratio is the median over the turns of (time through Triton) / (time bare) for the same work. Concurrency is callers
that wait for their answer; on both sides as many requests run at once as the engine has instances. CPU time (of this
process, tritonserver and its stubs) says the same on a machine that is busy with other things, where waiting for a core
would drown the difference.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import threading
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
from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer
from serve.engines.warmup_inputs import CONFIG_TYPES
from serve.observability.metrics import processes

Arrays = dict[str, NDArray[Any]]
Bare = Callable[[Arrays], object]
BACKENDS = ("onnxruntime", "openvino")
REPOSITORY = Path(__file__).parents[2] / "model_repository"


@dataclass(frozen=True)
class Cell:
    """One line of the table: medians in milliseconds per request of ``batch`` rows."""

    engine: str
    batch: int
    concurrency: int
    bare_ms: float
    triton_ms: float
    ratio: float
    bare_cpu_ms: float
    triton_cpu_ms: float


@dataclass(frozen=True)
class Turns:
    """How often each side's turn comes, how long it is, and how many requests the engine may run at once."""

    repeats: int
    seconds: float
    instances: int


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
    local = threading.local()

    def run(inputs: Arrays) -> object:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        return local.request.infer(inputs, share_inputs=True)

    return run


def bare_turn(run: Bare, inputs: Arrays, count: int, pool: ThreadPoolExecutor) -> float:
    """Seconds per request."""
    started = time.perf_counter()
    for finished in [pool.submit(run, inputs) for _ in range(count)]:
        finished.result()
    return (time.perf_counter() - started) / count


async def triton_turn(engines: EngineClient, engine: str, inputs: Arrays, count: int, concurrency: int) -> float:
    """Seconds per request."""
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await engines.infer(engine, inputs)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return (time.perf_counter() - started) / count


def cpu_seconds(server: TritonServer) -> tuple[float, float]:
    """CPU seconds used so far by this process, and by the server's."""
    ticks = 0
    for pid in processes.descendants(server.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time(), ticks / os.sysconf("SC_CLK_TCK")


async def measure(
    server: TritonServer, engines: EngineClient, cell: tuple[str, int, int], run: Bare, inputs: Arrays, turns: Turns
) -> Cell:
    engine, _, concurrency = cell
    taken: dict[str, list[float]] = {"bare": [], "triton": []}
    cpu = {"bare": 0.0, "triton": 0.0}
    with ThreadPoolExecutor(min(concurrency, turns.instances)) as pool:
        once = bare_turn(run, inputs, 2 * concurrency, pool)
        await triton_turn(engines, engine, inputs, 2 * concurrency, concurrency)
        count = max(concurrency * 2, round(turns.seconds / once))
        for turn in range(turns.repeats):
            for side in ("bare", "triton") if turn % 2 else ("triton", "bare"):
                own, theirs = cpu_seconds(server)
                if side == "bare":
                    taken[side].append(bare_turn(run, inputs, count, pool))
                else:
                    taken[side].append(await triton_turn(engines, engine, inputs, count, concurrency))
                own_after, theirs_after = cpu_seconds(server)
                cpu[side] += own_after - own + (theirs_after - theirs if side == "triton" else 0)
    ratios = [through / bare for through, bare in zip(taken["triton"], taken["bare"], strict=True)]
    per_request = 1e3 / (count * turns.repeats)
    return Cell(
        *cell,
        bare_ms=1e3 * statistics.median(taken["bare"]),
        triton_ms=1e3 * statistics.median(taken["triton"]),
        ratio=statistics.median(ratios),
        bare_cpu_ms=cpu["bare"] * per_request,
        triton_cpu_ms=cpu["triton"] * per_request,
    )


def random_inputs(config: dict[str, Any], batch: int, free: int) -> Arrays:
    """Numbers in [0, 1), or all bytes, for what must be sent; ``free`` is the length of axes of any length."""
    random = np.random.default_rng(0)
    inputs = {}
    for entry in (entry for entry in config["input"] if not entry.get("optional")):
        shape = (batch, *(free if length < 0 else length for length in entry["dims"]))
        dtype = CONFIG_TYPES[entry["data_type"]]
        inputs[entry["name"]] = (random.random(shape) * (256 if dtype == np.uint8 else 1)).astype(dtype)
    return inputs


def threads_of(config: dict[str, Any], default: int) -> int:
    """The threads that an engine's config gives it, or ``default``."""
    parameters = config["parameters"]
    named = [parameters.get(key, {}).get("string_value") for key in ("intra_op_thread_count", "INFERENCE_NUM_THREADS")]
    return next((int(text) for text in named if text and text != "0"), default)


def prepare(repository: Path, wanted: Sequence[str], instances: int) -> dict[str, str]:
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
                backends[synthetic_engines.write(engine, repository, backend, instances)] = backend
    return backends


async def bench(arguments: argparse.Namespace) -> list[Cell]:
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        backends = prepare(repository, arguments.engine, arguments.instances)
        server = TritonServer(repository, list(backends), threads=arguments.threads)
        await asyncio.to_thread(server.start)
        engines = EngineClient(server.url, timeout_s=60)
        try:
            for engine, backend in backends.items():
                config = await engines.config(engine)
                threads = threads_of(config, arguments.threads)
                instances = sum(group["count"] for group in config["instance_group"])
                turns = Turns(arguments.repeats, arguments.seconds, instances)
                run = bare_runtime(repository / engine / "1" / "model.onnx", backend, threads)
                for batch in (size for size in arguments.batch if size <= config["max_batch_size"]):
                    inputs = random_inputs(config, batch, arguments.free_axis)
                    for concurrency in arguments.concurrency:
                        cell = (engine, batch, concurrency)
                        cells.append(await measure(server, engines, cell, run, inputs, turns))
        finally:
            await engines.close()
            await asyncio.to_thread(server.stop)
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs="*", default=[], help="engines of model_repository (default: synthetic ones)")
    parser.add_argument("--batch", nargs="*", type=int, default=[1, 8, 32])
    parser.add_argument("--concurrency", nargs="*", type=int, default=[1, 8, 32])
    parser.add_argument("--threads", type=int, default=2, help="threads of an engine, on both sides")
    parser.add_argument("--free-axis", type=int, default=256, help="length of axes of any length")
    parser.add_argument("--instances", type=int, default=1, help="instances of a synthetic engine in Triton")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn")
    arguments = parser.parse_args()
    cells = asyncio.run(bench(arguments))
    header = ["engine", "batch", "concurrency", "bare ms/request", "Triton ms/request", "Triton / bare"]
    header += ["bare CPU ms", "Triton CPU ms"]
    lines = [
        [c.engine, str(c.batch), str(c.concurrency)]
        + [f"{value:.2f}" for value in (c.bare_ms, c.triton_ms, c.ratio, c.bare_cpu_ms, c.triton_cpu_ms)]
        for c in cells
    ]
    print(markdown(header, lines))


if __name__ == "__main__":
    main()
