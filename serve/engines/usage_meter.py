"""`EngineMeter`: what an inference costs, and what Triton counts, from time to time.

Triton says how long it ran each engine, the kernel how much processor time all of it took. The processor time since
the last look is divided over the engines by how long they ran, and for each engine over the work that was asked of it:
its rows, and the size of its pictures. So what all inferences are charged comes to what was spent, one look late.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer
from serve.errors import AtelierError
from serve.observability.costs import charge
from serve.observability.metrics import catalogue
from serve.observability.metrics.metric import Sample
from serve.observability.metrics.proc import descendants
from serve.observability.metrics.processes import Usage

LOGGER = logging.getLogger(__name__)

LOOK_S = 5.0
_LEAST_SHARE = 0.05
"""Of the time since the last look that engines have to have run: of what an idle process spends they tell nothing."""
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""To loopback no proxy leads, whatever the environment names."""
_CORES = os.cpu_count() or 1
_KEPT = 0.5
"""How much of what was known of an engine's price stays with each look."""
_MOST_BYTES = 4 * 1024 * 1024


class _Batches(NamedTuple):
    """Of one size, that one version of an engine ran."""

    engine: str
    version: str
    size: str


class EngineMeter:
    """Of one ensemble's engines; ``gpus`` is the share of a GPU that it has. For one event loop.

    Without a ``server`` of its own nobody knows what its engines cost, and they are free.
    """

    def __init__(self, ensemble: str, engines: EngineClient, server: TritonServer | None, gpus: float = 0.0) -> None:
        self._ensemble = ensemble
        self._engines = engines
        self._server = server
        self._gpus = gpus
        self._usage = Usage()
        self._work: Counter[str] = Counter()
        """Asked of each engine since the last look."""
        self._told: dict[_Batches, tuple[int, float]] = {}
        """What Triton had told of each size of batch when it last did: how often it was run, and how long in all."""
        self._looked_at: float | None = None
        self._prices: dict[str, tuple[float, float]] = {}
        """Processor and GPU seconds for one unit of work."""
        engines.on_inference = self.answered

    def answered(self, engine: str, inputs: Mapping[str, NDArray[Any]]) -> None:
        work = work_of(inputs)
        self._work[engine] += work
        cpu_s, gpu_s = self._prices.get(engine, (0.0, 0.0))
        charge(work * cpu_s, work * gpu_s)

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            try:
                await self.look()
            except (AtelierError, OSError, http.client.HTTPException, ValueError) as error:
                LOGGER.info("Triton's figures wait: %s", error)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Raises what Triton's being away raises."""
        found = await self._engines.statistics("")
        since_s = self._publish(found.get("model_stats", ()))
        if self._server is None:
            return
        self._reckon(since_s)
        catalogue.TRITON.replace(self._ensemble, await asyncio.to_thread(self._own_metrics, self._server.metrics_url))

    def _publish(self, models: Iterable[Mapping[str, Any]]) -> Mapping[str, float]:
        """How long each engine ran since the last look, in seconds, all its versions together.

        Triton tells of each version by itself, and begins again at 0 with one that it loads anew.
        """
        since_s: defaultdict[str, float] = defaultdict(float)
        for key, (count, took_s) in _told_of(models).items():
            before = self._told.get(key, (0, 0.0))
            if count < before[0]:
                before = (0, 0.0)
            self._told[key] = (count, took_s)
            ran_s = max(0.0, took_s - before[1])
            catalogue.EXECUTIONS.add(count - before[0], key.engine, key.size)
            catalogue.EXECUTION_SECONDS.add(ran_s, key.engine, key.size)
            since_s[key.engine] += ran_s
        return since_s

    def _reckon(self, since_s: Mapping[str, float]) -> None:
        assert self._server is not None
        spent_s, _ = self._usage.look([os.getpid(), self._server.pid, *descendants(self._server.pid)])
        whole_s, now = sum(since_s.values()), time.monotonic()
        if self._looked_at is None:  # what was spent until then was spent on the start
            self._looked_at = now
            self._work.clear()
            return
        wall_s, self._looked_at = now - self._looked_at, now
        is_idle = whole_s < _LEAST_SHARE * wall_s
        # Engines that run side by side share what there is.
        gpus = self._gpus * min(1.0, wall_s / whole_s) if whole_s else 0.0
        for engine, run_s in since_s.items():
            work = self._work.pop(engine, 0)
            if not work or run_s <= 0 or (is_idle and engine in self._prices):
                continue
            took_s = run_s if is_idle else min(spent_s * run_s / whole_s, _CORES * run_s)
            self._learn(engine, took_s / work, gpus * run_s / work)

    def _learn(self, engine: str, cpu_s: float, gpu_s: float) -> None:
        """As long as nothing is known, the first guess: an engine that runs takes one processor."""
        known = self._prices.get(engine, (cpu_s, gpu_s))
        self._prices[engine] = (
            _KEPT * known[0] + (1 - _KEPT) * cpu_s,
            _KEPT * known[1] + (1 - _KEPT) * gpu_s,
        )

    def _own_metrics(self, url: str) -> list[Sample]:
        with _DIRECTLY.open(url, timeout=LOOK_S) as answer:  # of loopback, the address is ours
            text = answer.read(_MOST_BYTES).decode()
        return [
            # As Triton names it: the parser ends every counter in _total.
            Sample(sample.name.removesuffix("_total"), {**sample.labels, "ensemble": self._ensemble}, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("nv_")
        ]


def work_of(inputs: Mapping[str, NDArray[Any]]) -> int:
    """The numbers in the largest batch of pictures or latents among ``inputs``, else the rows: what time grows with."""
    pictures = [array for array in inputs.values() if array.ndim == 4]
    if pictures:
        return max(array.size for array in pictures)
    return max((array.shape[0] for array in inputs.values() if array.ndim), default=1)


def _told_of(models: Iterable[Mapping[str, Any]]) -> dict[_Batches, tuple[int, float]]:
    """How often batches were run, and how long in all, in seconds."""
    found = {}
    for model in models:
        for batch in model.get("batch_stats", ()):
            parts = [batch.get(f"compute_{part}", {}) for part in ("input", "infer", "output")]
            took_s = sum(int(part.get("ns", 0)) for part in parts) / 1e9
            key = _Batches(str(model["name"]), str(model.get("version", "")), str(batch["batch_size"]))
            found[key] = int(batch["compute_infer"].get("count", 0)), took_s
    return found
