"""Eight callers at once: our step-level batching, and two smaller ways to serve the same engines.

All three ask the same Triton for the same engines, so what differs is only who waits for whom.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from serve.diffusion.guidance import Array, guide
from serve.diffusion.noise import LATENTS, gaussian
from serve.diffusion.samplers import State
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.pipeline.pipeline import DiffusionPipeline
from serve.ensembles.illustrator.pipeline.plan import Plan
from serve.errors import AtelierError


@dataclass(frozen=True)
class Arrival:
    """A request: when it comes, in seconds from the start, and how many steps it wants."""

    at_s: float
    steps: int
    seed: int


@dataclass(frozen=True)
class Served:
    steps: int
    latency_s: float


class Policy(Protocol):
    async def draw(self, arrival: Arrival) -> None: ...


def arrivals(count: int, rate: float, seed: int, steps: Sequence[int] = (8, 30)) -> list[Arrival]:
    """Poisson at ``rate`` requests/s, ``steps`` drawn evenly."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, count))
    return [Arrival(float(at), int(rng.choice(steps)), i) for i, at in enumerate(times)]


async def serve(policy: Policy, wanted: Sequence[Arrival]) -> tuple[list[Served], float]:
    """Each request's latency, and the seconds from the first arrival to the last picture."""
    began = time.perf_counter()

    async def one(arrival: Arrival) -> Served:
        await asyncio.sleep(max(0.0, began + arrival.at_s - time.perf_counter()))
        await policy.draw(arrival)
        return Served(arrival.steps, time.perf_counter() - began - arrival.at_s)

    served = await asyncio.gather(*map(one, wanted))
    return list(served), time.perf_counter() - began - wanted[0].at_s


@dataclass
class StepLevel:
    """Ours."""

    illustrator: Illustrator

    async def draw(self, arrival: Arrival) -> None:
        await self.illustrator.draw(options_of(arrival))


class OneAtATime:
    """A queue of whole requests: how a script with a lock serves."""

    def __init__(self, illustrator: Illustrator) -> None:
        self._illustrator = illustrator
        self._lock = asyncio.Lock()

    async def draw(self, arrival: Arrival) -> None:
        async with self._lock:
            await self._illustrator.draw(options_of(arrival))


class RequestLevel:
    """Whole requests are batched: those that wait when the engine is free, up to ``most``, go together, and leave
    together when the longest is done. How a batching server with a pipeline as its model serves."""

    def __init__(self, pipeline: DiffusionPipeline, most: int) -> None:
        self._pipeline = pipeline
        self._most = most
        self._waiting: list[tuple[Arrival, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def draw(self, arrival: Arrival) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((arrival, done))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        await done

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                await self._draw([arrival for arrival, _ in batch])
            except AtelierError as error:
                for _, done in batch:
                    done.set_exception(error)
            else:
                for _, done in batch:
                    done.set_result(None)

    async def _draw(self, batch: Sequence[Arrival]) -> None:
        pipeline, family = self._pipeline, self._pipeline.family
        plans = [await pipeline.plan(options_of(a), a.seed, time.monotonic() + 600, {}) for a in batch]
        shape = family.latents_shape(*family.defaults.size)
        samples = [p.trajectory.start(gaussian(a.seed, LATENTS, shape)) for p, a in zip(plans, batch, strict=True)]
        states: list[State] = [{} for _ in batch]
        for i in range(max(len(plan.trajectory) for plan in plans)):
            going = [k for k, plan in enumerate(plans) if i < len(plan.trajectory)]
            outputs = await self._predict([plans[k] for k in going], [samples[k] for k in going], i)
            for k, output in zip(going, outputs, strict=True):
                samples[k], states[k] = plans[k].trajectory.step(states[k], output, samples[k], i, None)
        await pipeline.calls.infer(family.vae_decoder, {"latents": np.stack(samples)}, time.monotonic() + 600, {})

    async def _predict(self, plans: Sequence[Plan], samples: Sequence[Array], i: int) -> list[Array]:
        """One request for the step ``i`` of all ``plans``."""
        inputs = {
            "sample": np.concatenate([np.repeat(s[None], 2, axis=0) for s in samples]),
            "timestep": np.concatenate([np.full((2, 1), p.trajectory.timesteps[i], np.float32) for p in plans]),
            "encoder_hidden_states": np.concatenate([p.constant["encoder_hidden_states"] for p in plans]),
        }
        answer = await self._pipeline.calls.infer(self._pipeline.family.unet, inputs, time.monotonic() + 600, {})
        rows = answer["noise_pred"]
        scale = plans[0].parameters.guidance_scale
        return [guide(rows[2 * k], rows[2 * k + 1], scale) for k in range(len(plans))]


def options_of(arrival: Arrival) -> IllustrateOptions:
    return IllustrateOptions("red apple flat", num_inference_steps=arrival.steps, seed=arrival.seed)
