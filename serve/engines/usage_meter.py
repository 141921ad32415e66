"""`EngineMeter`: the cost of inferences, and Triton's own counters.

Triton reports how long it ran each engine, the kernel how much CPU time the processes used. The CPU time since the last
update is divided over engines by their run time, and per engine over the work units (rows, picture size) it received.
Charges therefore add up to the CPU time spent, delayed by one update.
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
from serve.observability.metrics.processes import Usage, descendants

LOGGER = logging.getLogger(__name__)

UPDATE_INTERVAL_S = 5.0
_MIN_BUSY_SHARE = 0.05
"""Minimum share of time that engines must have run: below that, CPU time is mostly idle overhead."""
_NO_PROXY_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Ignores proxies of the environment, which do not apply to loopback."""
_CORES = os.cpu_count() or 1
_SMOOTHING = 0.5
"""Weight of the previous price in the moving average."""
_MAX_METRICS_BYTES = 4 * 1024 * 1024


class _BatchKey(NamedTuple):
    """Key of Triton's batch statistics: batches of one size of one version of an engine."""

    engine: str
    version: str
    size: str


class EngineMeter:
    """Meter of one ensemble's engines; ``gpus`` is its share of a GPU. For one event loop.

    Without ``server`` (external Triton) the cost is unknown and counted as 0.
    """

    def __init__(self, ensemble: str, engines: EngineClient, server: TritonServer | None, gpus: float = 0.0) -> None:
        self._ensemble = ensemble
        self._engines = engines
        self._server = server
        self._gpus = gpus
        self._usage = Usage()
        self._work: Counter[str] = Counter()
        """Work units per engine since the last update."""
        self._totals: dict[_BatchKey, tuple[int, float]] = {}
        """Last totals from Triton by batch key: executions, seconds."""
        self._updated_at: float | None = None
        self._prices: dict[str, tuple[float, float]] = {}
        """CPU and GPU seconds per work unit, by engine."""
        engines.on_inference = self.record

    def record(self, engine: str, inputs: Mapping[str, NDArray[Any]]) -> None:
        self.record_units(engine, work_units(inputs))

    def record_units(self, engine: str, work: int) -> None:
        """Count ``work`` units and charge them to the current bill."""
        self._work[engine] += work
        cpu_s, gpu_s = self._prices.get(engine, (0.0, 0.0))
        charge(work * cpu_s, work * gpu_s)

    async def run(self) -> None:
        """Update periodically until cancelled."""
        while True:
            try:
                await self.update()
            except (AtelierError, OSError, http.client.HTTPException, ValueError) as error:
                LOGGER.info("Triton's figures wait: %s", error)
            await asyncio.sleep(UPDATE_INTERVAL_S)

    async def update(self) -> None:
        """Update once. Raises if Triton is unavailable."""
        found = await self._engines.statistics("")
        since_s = self._publish(found.get("model_stats", ()))
        if self._server is None:
            return
        self._update_prices(since_s)
        catalogue.TRITON.replace(self._ensemble, await asyncio.to_thread(self._own_metrics, self._server.metrics_url))

    def _publish(self, models: Iterable[Mapping[str, Any]]) -> Mapping[str, float]:
        """Seconds that each engine ran since the last update, over all its versions.

        Triton counts each version separately and restarts at 0 when it loads one again.
        """
        since_s: defaultdict[str, float] = defaultdict(float)
        for key, (count, took_s) in _batch_totals(models).items():
            before = self._totals.get(key, (0, 0.0))
            if count < before[0]:
                before = (0, 0.0)
            self._totals[key] = (count, took_s)
            ran_s = max(0.0, took_s - before[1])
            catalogue.EXECUTIONS.add(count - before[0], key.engine, key.size)
            catalogue.EXECUTION_SECONDS.add(ran_s, key.engine, key.size)
            since_s[key.engine] += ran_s
        return since_s

    def _update_prices(self, since_s: Mapping[str, float]) -> None:
        assert self._server is not None
        spent_s, _ = self._usage.update([os.getpid(), self._server.pid, *descendants(self._server.pid)])
        total_run_s, now = sum(since_s.values()), time.monotonic()
        if self._updated_at is None:  # everything before was spent on the start
            self._updated_at = now
            self._work.clear()
            return
        wall_s, self._updated_at = now - self._updated_at, now
        is_idle = total_run_s < _MIN_BUSY_SHARE * wall_s
        # Engines that run concurrently share the GPU.
        gpus = self._gpus * min(1.0, wall_s / total_run_s) if total_run_s else 0.0
        for engine, run_s in since_s.items():
            work = self._work.pop(engine, 0)
            if not work or run_s <= 0 or (is_idle and engine in self._prices):
                continue
            took_s = run_s if is_idle else min(spent_s * run_s / total_run_s, _CORES * run_s)
            self._smooth_price(engine, took_s / work, gpus * run_s / work)

    def _smooth_price(self, engine: str, cpu_s: float, gpu_s: float) -> None:
        """Update the moving average of prices; the first value is taken as it is."""
        known = self._prices.get(engine, (cpu_s, gpu_s))
        self._prices[engine] = (
            _SMOOTHING * known[0] + (1 - _SMOOTHING) * cpu_s,
            _SMOOTHING * known[1] + (1 - _SMOOTHING) * gpu_s,
        )

    def _own_metrics(self, url: str) -> list[Sample]:
        with _NO_PROXY_OPENER.open(url, timeout=UPDATE_INTERVAL_S) as answer:
            text = answer.read(_MAX_METRICS_BYTES).decode()
        return [
            # Triton's own name: the parser appends _total to every counter.
            Sample(sample.name.removesuffix("_total"), {**sample.labels, "ensemble": self._ensemble}, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("nv_")
        ]


def work_units(inputs: Mapping[str, NDArray[Any]]) -> int:
    """Work units of one inference: the size of its largest 4-D tensor (pictures, latents), else its rows."""
    pictures = [array for array in inputs.values() if array.ndim == 4]
    if pictures:
        return max(array.size for array in pictures)
    return max((array.shape[0] for array in inputs.values() if array.ndim), default=1)


def _batch_totals(models: Iterable[Mapping[str, Any]]) -> dict[_BatchKey, tuple[int, float]]:
    """(executions, seconds) by batch key."""
    found = {}
    for model in models:
        for batch in model.get("batch_stats", ()):
            parts = [batch.get(f"compute_{part}", {}) for part in ("input", "infer", "output")]
            took_s = sum(int(part.get("ns", 0)) for part in parts) / 1e9
            key = _BatchKey(str(model["name"]), str(model.get("version", "")), str(batch["batch_size"]))
            found[key] = int(batch["compute_infer"].get("count", 0)), took_s
    return found
