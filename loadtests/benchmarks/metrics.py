"""What measuring takes, and whether costs add up: `python -m loadtests.benchmarks.metrics [--seconds 60]`.

Prints the time of one recording, what recording adds to a request of each ensemble, what telling all series takes each
time, and, under a load, what requests were charged beside what the processes spent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from serve.ensembles.illustrator.illustration import ILLUSTRATE, IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.vectorizer.vectorization import VECTORIZE, VectorizeOptions
from serve.ensembles.vectorizer.vectorizer import Vectorizer
from serve.observability.metrics import catalogue
from serve.observability.metrics.metric import Counter, Gauge, Histogram
from serve.observability.metrics.processes import Usage, descendants
from serve.settings import IllustratorSettings, VectorizerSettings

RECORDINGS = 200_000
CALLERS = 4
WARM_S = 12.0
"""Until prices are known: a few looks of `serve.engines.usage_meter`."""
out = Console(highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load on each ensemble")
    parser.add_argument("--ray", action="store_true", help="also what Ray's own calls take; starts a Ray node")
    options = parser.parse_args()
    recording_s = show_recordings()
    asyncio.run(show_ensembles(options.seconds, recording_s))
    show_telling()
    if options.ray:
        show_ray()


def show_recordings() -> float:
    """The dearest kind's seconds."""
    counter, gauge = Counter("n_total", "", ("of",)), Gauge("g", "", ("of",))
    histogram = Histogram("h", "", catalogue.SECONDS, ("of",))
    table, dearest = Table("one recording", "us"), 0.0
    kinds: dict[str, Callable[[], None]] = {
        "counter": lambda: counter.add(1, "x"),
        "gauge": lambda: gauge.set(1, "x"),
        "histogram": lambda: histogram.observe(0.02, "x"),
    }
    for name, record in kinds.items():
        took_s = timed(record, RECORDINGS)
        dearest = max(dearest, took_s)
        table.add_row(name, f"{1e6 * took_s:.2f}")
    out.print(table)
    return dearest


def timed(act: Callable[[], None], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - began) / times


@contextlib.contextmanager
def recordings() -> Iterator[list[int]]:
    """How often anything is recorded within."""
    count, kept = [0], {}
    for metric in catalogue.metrics():
        for name in ("add", "set", "observe"):
            if (record := getattr(metric, name, None)) is not None:
                kept[(metric, name)] = record
                setattr(metric, name, _counting(record, count))
    yield count
    for metric, name in kept:
        delattr(metric, name)


def _counting(record: Any, count: list[int]) -> Any:
    def counted(*arguments: Any) -> None:
        count[0] += 1
        record(*arguments)

    return counted


async def show_ensembles(seconds: float, recording_s: float) -> None:
    picture = drawing()
    vectorizer, illustrator = Vectorizer(VectorizerSettings()), Illustrator(IllustratorSettings())
    works: list[tuple[str, Any, Callable[[int], Awaitable[Any]]]] = [
        (VECTORIZE, vectorizer, lambda _: vectorizer.vectorize(picture, VectorizeOptions(validate=True))),
        (ILLUSTRATE, illustrator, lambda seed: illustrator.draw(IllustrateOptions("red apple", seed=seed))),
    ]
    adds = Table("ensemble", "recordings of a request", "add us", "to ms")
    sums = Table("ensemble", "requests", "spent CPU s", "charged CPU s", "charged %")
    for name, ensemble, work in works:
        await ensemble.start()
        try:
            await load(work, WARM_S)
            with recordings() as count:
                began = time.perf_counter()
                await work(1)
                took_s = time.perf_counter() - began
            adds.add_row(name, str(count[0]), f"{1e6 * recording_s * count[0]:.1f}", f"{1e3 * took_s:.1f}")
            sums.add_row(name, *await charged(work, seconds))
        finally:
            await ensemble.close()
    out.print(adds)
    out.print(sums)


async def charged(work: Callable[[int], Awaitable[Any]], seconds: float) -> list[str]:
    usage = Usage()
    usage.update(processes())
    before = cost()
    requests = await load(work, seconds)
    spent_s, _ = usage.update(processes())
    found = cost() - before
    return [str(requests), f"{spent_s:.1f}", f"{found:.1f}", f"{100 * found / spent_s:.0f}"]


def processes() -> list[int]:
    return [os.getpid(), *descendants(os.getpid())]


def cost() -> float:
    return sum(sample.value for sample in catalogue.COST_CPU.samples())


async def load(work: Callable[[int], Awaitable[Any]], seconds: float) -> int:
    """How many requests ended, of ``CALLERS`` that ask one after the other."""
    deadline, ended = time.monotonic() + seconds, 0

    async def caller(seed: int) -> None:
        nonlocal ended
        while time.monotonic() < deadline:
            await work(seed)
            seed, ended = seed + CALLERS, ended + 1

    await asyncio.gather(*(caller(seed) for seed in range(CALLERS)))
    return ended


def drawing() -> bytes:
    image = Image.new("RGB", (128, 128), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((16, 16, 96, 96), fill="#c0392b")
    draw.rectangle((64, 64, 120, 120), fill="#2980b9")
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def show_telling() -> None:
    """Of a process that served both ensembles."""
    began = time.process_time()
    count = sum(1 for _ in catalogue.samples())
    took_s = time.process_time() - began
    table = Table("all series of a process", "ms to read")
    table.add_row(str(count), f"{1e3 * took_s:.2f}")
    out.print(table)


def show_ray() -> None:
    """What each recording would take if Ray were told of it there and then, and what telling it of all takes."""
    import ray
    from ray.util.metrics import Counter as RaysCounter
    from ray.util.metrics import Histogram as RaysHistogram

    from serve.cluster.ray_process import MetricsExporter

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    counter = RaysCounter("bench", tag_keys=("of",))
    histogram = RaysHistogram("bench_seconds", boundaries=list(catalogue.SECONDS), tag_keys=("of",))
    exports = MetricsExporter("bench", 1.0)
    table = Table("told to Ray", "us")
    table.add_row("one of its counters", f"{1e6 * timed(lambda: counter.inc(1, {'of': 'x'}), 20_000):.2f}")
    table.add_row("one of its histograms", f"{1e6 * timed(lambda: histogram.observe(0.02, {'of': 'x'}), 20_000):.2f}")
    exports.export_all()
    table.add_row("all series of this process, at once", f"{1e6 * timed(exports.export_all, 20):.0f}")
    out.print(table)
    ray.shutdown()


if __name__ == "__main__":
    main()
