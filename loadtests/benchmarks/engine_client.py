"""What an inference costs its client over gRPC and over HTTP: ``python -m loadtests.benchmarks.engine_client``.

Both call the same Triton alone, in turns. Only this process's time is counted, not Triton's.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence

from loadtests.peers.processes import RawTriton, raw_triton
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown
from serve.engines.client import EngineClient
from serve.engines.warmup_inputs import warmup_inputs


async def measure(triton: RawTriton, engine: str, callers: int, count: int, over_http: bool) -> float:
    """Milliseconds of this process per inference."""
    client = EngineClient(triton.grpc)
    if over_http:
        client.use_http(triton.http)
    inputs = warmup_inputs(await client.config(engine))

    async def call(times: int) -> None:
        for _ in range(times):
            await client.infer(engine, inputs)

    try:
        await asyncio.gather(*(call(20) for _ in range(callers)))
        began = time.process_time()
        await asyncio.gather(*(call(count // callers) for _ in range(callers)))
        return 1e3 * (time.process_time() - began) / (count // callers * callers)
    finally:
        await client.close()


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="quality", help="engine of model_repository")
    parser.add_argument("--callers", nargs="+", type=int, default=(1, 8, 32))
    parser.add_argument("--count", type=int, default=800, help="inferences of a turn")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(given)
    lines = []
    with raw_triton(ROOT / "model_repository", [options.engine], 1) as triton:
        for callers in options.callers:
            found: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(options.rounds):
                for over_http, samples in found.items():
                    samples.append(asyncio.run(measure(triton, options.engine, callers, options.count, over_http)))
            grpc, http = min(found[False]), min(found[True])
            lines.append([str(callers), f"{grpc:.3f}", f"{http:.3f}", f"{grpc / http:.1f}"])
    print(markdown(["callers", "gRPC, CPU ms", "HTTP, CPU ms", "ratio"], lines))


if __name__ == "__main__":
    main()
