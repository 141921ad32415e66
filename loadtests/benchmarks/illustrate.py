"""Prompt to picture against its peers, same weights, steps and sampler: ``python -m loadtests.benchmarks.illustrate``.

One caller: ours, diffusers' eager mode, the bare engines in a loop, in this process and in Triton. Eight callers at
once, coming at random with 8 or 30 steps: steps batched (ours), requests batched, one at a time. Then what joining,
cancelling and starting take.

Without ``--checkpoint`` it measures the starter family's networks with random weights, which are as fast as trained
ones. Interleaved, so that a machine whose speed changes is unfair to nobody; ratios can be compared, times cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np

from loadtests.illustrate.policies import OneAtATime, Policy, RequestLevel, Served, StepLevel, arrivals, serve
from loadtests.illustrate.workload import NAME, Workload, prepare
from loadtests.load.memory import pss_bytes
from loadtests.vectorize.measure import ROOT
from loadtests.vectorize.table import markdown
from serve.ensembles.batch_profile import profile, store
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.settings import IllustratorSettings

STEPS, SHORT, LONG = 20, 8, 30
PROMPT = "red apple flat"
LOAD = 0.75
"""Share of what one caller at a time would use that eight callers ask for."""
CALLERS = 8


def settings_of(subject: Workload) -> IllustratorSettings:
    return IllustratorSettings(model_repository=subject.repository)


async def one_caller(subject: Workload, illustrator: Illustrator, pictures: int) -> dict[str, list[float]]:
    """Seconds of each picture by side, taken in turns."""
    from loadtests.illustrate import peers  # torch: only in this process, and only now

    guidance = subject.family.defaults.guidance_scale
    eager, bare = peers.diffusers_eager(subject, STEPS, guidance), peers.bare_loop(subject, STEPS, guidance)
    served = peers.served_loop(subject, illustrator.engine_set.client, STEPS, guidance)

    async def ours(seed: int) -> None:
        await illustrator.draw(IllustrateOptions(PROMPT, num_inference_steps=STEPS, seed=seed))

    sides: dict[str, Callable[[int], Awaitable[object]]] = {
        "ours": ours,
        "diffusers, eager": lambda seed: asyncio.to_thread(eager, PROMPT, seed),
        "bare engine loop": lambda seed: bare(PROMPT, seed),
        "bare loop over Triton": lambda seed: served(PROMPT, seed),
    }
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for seed in range(pictures + 1):  # the first of each does not count
        for side, draw in sides.items():
            began = time.perf_counter()
            await draw(seed)
            taken[side].append(time.perf_counter() - began)
    return {side: seconds[1:] for side, seconds in taken.items()}


async def many_callers(
    illustrator: Illustrator, requests: int, rounds: int, rate: float
) -> dict[str, list[tuple[list[Served], float]]]:
    """What each policy made of the same arrivals, round by round."""
    pipeline = next(iter(illustrator._pipelines.values()))
    policies: dict[str, Callable[[], Policy]] = {
        "steps batched (ours)": lambda: StepLevel(illustrator),
        "requests batched": lambda: RequestLevel(pipeline, CALLERS),
        "one at a time": lambda: OneAtATime(illustrator),
    }
    found: dict[str, list[tuple[list[Served], float]]] = {name: [] for name in policies}
    for round_ in range(rounds):
        wanted = arrivals(requests, rate, round_, (SHORT, LONG))
        for name, policy in policies.items():
            found[name].append(await serve(policy(), wanted))
    return found


async def join_and_cancel(illustrator: Illustrator, tries: int) -> dict[str, list[float]]:
    """In step times: from a request's arrival among seven others to its first step's answer, and from a cancellation to
    the last step that is still computed."""
    pipeline = next(iter(illustrator._pipelines.values()))
    unet = pipeline.family.unet
    found: dict[str, list[float]] = {"join": [], "cancel": []}
    for _ in range(tries):
        others = [asyncio.create_task(illustrator.draw(_long(i))) for i in range(CALLERS - 1)]
        await asyncio.sleep(0.3)
        step_s = await _step_s(illustrator, unet)
        began = time.perf_counter()
        stream = illustrator.stream(IllustrateOptions(PROMPT, num_inference_steps=2, preview_every=1, seed=99))
        await anext(stream)
        found["join"].append((time.perf_counter() - began) / step_s)
        await stream.aclose()
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        began = time.perf_counter()
        await illustrator.engine_set.client.probe(unet)  # waits for what is still under way
        found["cancel"].append((time.perf_counter() - began) / step_s)
    return found


def _long(seed: int) -> IllustrateOptions:
    return IllustrateOptions(PROMPT, num_inference_steps=1000, seed=seed)


async def _step_s(illustrator: Illustrator, unet: str) -> float:
    """Seconds that one picture's step takes among the others: what a step is while the engine is shared."""
    before = (await illustrator.statistics(unet))["model_stats"][0]
    began = time.perf_counter()
    await asyncio.sleep(0.5)
    after = (await illustrator.statistics(unet))["model_stats"][0]
    inferences = int(after["inference_count"]) - int(before["inference_count"])
    return (time.perf_counter() - began) / max(1.0, inferences / 2 / (CALLERS - 1))


async def cold_start(subject: Workload) -> float:
    """Seconds from an Illustrator that is not started to its first picture."""
    began = time.perf_counter()
    illustrator = Illustrator(settings_of(subject))
    await illustrator.start()
    try:
        await illustrator.draw(IllustrateOptions(PROMPT, num_inference_steps=STEPS, seed=0))
        return time.perf_counter() - began
    finally:
        await illustrator.close()


def alone_table(taken: dict[str, list[float]]) -> str:
    ours = float(np.median(taken["ours"]))
    rows = []
    for side, seconds in taken.items():
        median = float(np.median(seconds))
        ratio = float(np.median(np.divide(seconds, taken["ours"])))
        rows.append([side, f"{1 / median:.2f}", f"{median * 1e3:.0f}", f"{ratio:.2f}" if median != ours else "1.00"])
    return markdown([f"one caller, {STEPS} steps", "pictures/s", "ms a picture", "ours is so many times as fast"], rows)


def crowd_table(found: dict[str, list[tuple[list[Served], float]]]) -> str:
    rows = []
    for name, rounds in found.items():
        cells = [name]
        for steps in (SHORT, LONG):
            latencies = [one.latency_s for served, _ in rounds for one in served if one.steps == steps]
            cells += [f"{np.quantile(latencies, q) * 1e3:.0f}" for q in (0.5, 0.95)]
        pictures, seconds = sum(len(served) for served, _ in rounds), sum(seconds for _, seconds in rounds)
        rows.append([*cells, f"{pictures / seconds:.2f}"])
    columns = [f"{steps} steps, {q} ms" for steps in (SHORT, LONG) for q in ("p50", "p95")]
    return markdown(["many callers", *columns, "pictures/s"], rows)


def curve_table(milliseconds: dict[int, float], chosen: int) -> str:
    rows = [
        [f"{size}" + (" (the cap)" if size == chosen else ""), f"{ms:.1f}", f"{size / ms * 1e3:.1f}"]
        for size, ms in milliseconds.items()
    ]
    return markdown(["UNet, batch", "ms", "rows/s"], rows)


async def bench(arguments: argparse.Namespace, subject: Workload) -> dict[str, object]:
    found = await profile(subject.repository, f"{NAME}_unet", arguments.device)
    store(subject.repository, found)
    print(curve_table(dict(found.milliseconds), found.max_batch_size), flush=True)
    starts = [await cold_start(subject) for _ in range(3)]
    illustrator = Illustrator(settings_of(subject))
    await illustrator.start()
    try:
        taken = await one_caller(subject, illustrator, arguments.pictures)
        print("\n" + alone_table(taken), flush=True)
        mean_s = float(np.median(taken["ours"])) * (SHORT + LONG) / 2 / STEPS
        crowd = await many_callers(illustrator, arguments.requests, arguments.rounds, LOAD / mean_s)
        print("\n" + crowd_table(crowd), flush=True)
        moves = await join_and_cancel(illustrator, 5)
        memory = pss_bytes([os.getpid()])
    finally:
        await illustrator.close()
    print(f"\njoin: first step answered and shown after {np.median(moves['join']):.2f} step times, its own among them")
    print(f"cancel: the engine was free after {np.median(moves['cancel']):.2f} step times")
    triton = sum(size for kind, size in memory.items() if "Triton" in kind) / 2**20
    print(f"start to first picture: {np.median(starts):.2f} s; memory of its Triton: {triton:.0f} MiB")
    return {
        "profile": dict(found.milliseconds),
        "one_caller_s": taken,
        "crowd": {name: [[s.__dict__ for s in served] for served, _ in rounds] for name, rounds in crowd.items()},
        "moves": moves,
        "starts_s": starts,
        "memory_bytes": memory,
    }


def main(arguments_given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a diffusers folder of the starter family's class")
    parser.add_argument("--pictures", type=int, default=20, help="pictures of one caller, each side")
    parser.add_argument("--requests", type=int, default=40, help="requests of a round of many callers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="CPU", help="what the table calls this machine")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "illustrate.json")
    arguments = parser.parse_args(arguments_given)
    with tempfile.TemporaryDirectory(prefix="atelier-bench-") as folder:
        subject = prepare(arguments.checkpoint, Path(folder))
        measured = asyncio.run(bench(arguments, subject))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
