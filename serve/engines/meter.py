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
from collections import Counter
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from serve.costs import charge
from serve.engines.client import Engines
from serve.engines.processes import descendants
from serve.engines.server import TritonServer
from serve.errors import AtelierError
from serve.metrics import catalogue
from serve.metrics.metric import Sample
from serve.metrics.processes import Usage

LOGGER = logging.getLogger(__name__)

LOOK_S = 5.0
_LEAST_SHARE = 0.05
"""Of the time since the last look that engines have to have run: of what an idle process spends they tell nothing."""
_CORES = os.cpu_count() or 1
_KEPT = 0.5
"""How much of what was known of an engine's price stays with each look."""
_MOST_BYTES = 4 * 1024 * 1024


class EngineMeter:
    """Of one ensemble's engines; ``gpus`` is the share of a GPU that it has. For one event loop.

    Without a ``server`` of its own nobody knows what its engines cost, and they are free.
    """

    def __init__(self, ensemble: str, engines: Engines, server: TritonServer | None, gpus: float = 0.0) -> None:
        self._ensemble = ensemble
        self._engines = engines
        self._server = server
        self._gpus = gpus
        self._usage = Usage()
        self._work: Counter[str] = Counter()
        """Asked of each engine since the last look."""
        self._ran_s: dict[str, float] = {}
        """How long each engine had run at the last look."""
        self._looked_at: float | None = None
        self._prices: dict[str, tuple[float, float]] = {}
        """Processor and GPU seconds for one unit of work."""
        engines.on_answer = self.answered

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
        ran_s = {model["name"]: _publish(model) for model in found.get("model_stats", ())}
        if self._server is None:
            return
        self._reckon(ran_s)
        catalogue.TRITON.replace(self._ensemble, await asyncio.to_thread(self._own_metrics, self._server.metrics_url))

    def _reckon(self, ran_s: Mapping[str, float]) -> None:
        since = {engine: run - self._ran_s.get(engine, 0.0) for engine, run in ran_s.items()}
        if any(run < 0 for run in since.values()):  # Triton was restarted
            since = dict(ran_s)
        assert self._server is not None
        spent_s, _ = self._usage.look([os.getpid(), self._server.pid, *descendants(self._server.pid)])
        whole_s, now = sum(since.values()), time.monotonic()
        if self._looked_at is None:  # what was spent until then was spent on the start
            since, self._looked_at = {}, now
            self._work.clear()
        is_idle = whole_s < _LEAST_SHARE * (now - self._looked_at)
        for engine, run_s in since.items():
            work = self._work.pop(engine, 0)
            if not work or run_s <= 0 or (is_idle and engine in self._prices):
                continue
            took_s = run_s if is_idle else min(spent_s * run_s / whole_s, _CORES * run_s)
            self._learn(engine, took_s / work, self._gpus * run_s / work)
        self._ran_s, self._looked_at = dict(ran_s), now

    def _learn(self, engine: str, cpu_s: float, gpu_s: float) -> None:
        """As long as nothing is known, the first guess: an engine that runs takes one processor."""
        known = self._prices.get(engine, (cpu_s, gpu_s))
        self._prices[engine] = (
            _KEPT * known[0] + (1 - _KEPT) * cpu_s,
            _KEPT * known[1] + (1 - _KEPT) * gpu_s,
        )

    def _own_metrics(self, url: str) -> list[Sample]:
        with urllib.request.urlopen(url, timeout=LOOK_S) as answer:  # of loopback, the address is ours
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


def _publish(model: Mapping[str, Any]) -> float:
    """How long the engine has run, in seconds, after telling how it batched."""
    engine, run_s = str(model["name"]), 0.0
    for batch in model.get("batch_stats", ()):
        parts = [batch.get(f"compute_{part}", {}) for part in ("input", "infer", "output")]
        took_s = sum(int(part.get("ns", 0)) for part in parts) / 1e9
        size = str(batch["batch_size"])
        catalogue.EXECUTIONS.set(int(batch["compute_infer"].get("count", 0)), engine, size)
        catalogue.EXECUTION_SECONDS.set(took_s, engine, size)
        run_s += took_s
    return run_s
