"""The usage meter: the sum of all charges equals what the processes spent."""

from __future__ import annotations

import asyncio
import http.server
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from serve.engines import usage_meter as module
from serve.engines.usage_meter import EngineMeter, work_units
from serve.observability.costs import billed, charge, total
from serve.observability.metrics import catalogue

ROW = {"x": np.zeros((1, 4), np.float32)}


class Counted:
    """A client that reports how long Triton ran each engine, or each version of one: `quality/2`."""

    def __init__(self) -> None:
        self.ran_s: dict[str, float] = {}
        self.on_inference: Any = None

    async def statistics(self, _: str) -> dict[str, Any]:
        samples = []
        for name, run_s in self.ran_s.items():
            engine, _, version = name.partition("/")
            samples.append({"name": engine, "version": version or "1", "batch_stats": batches(run_s)})
        return {"model_stats": samples}


def batches(run_s: float) -> list[dict[str, Any]]:
    """Executions of a tenth of a second each."""
    part = {"count": round(run_s * 10), "ns": int(run_s * 1e9)}
    return [{"batch_size": 2, "compute_input": {}, "compute_infer": part, "compute_output": {}}]


class Server:
    pid = 1
    metrics_url = ""


@pytest.fixture
def engines() -> Counted:
    return Counted()


@pytest.fixture
def metered(engines: Counted, monkeypatch: pytest.MonkeyPatch) -> tuple[EngineMeter, list[float]]:
    """A meter, and a list of what its processes spend until each update."""
    made = EngineMeter("illustrate", engines, Server(), gpus=0.5)  # type: ignore[arg-type]
    made._updated_at = time.monotonic()
    spent: list[float] = []
    monkeypatch.setattr(made._usage, "update", lambda _: (spent.pop(0), 0))
    monkeypatch.setattr(made, "_own_metrics", lambda _: [])
    monkeypatch.setattr(module, "descendants", lambda _: [])
    monkeypatch.setattr(module, "_CORES", 4)
    return made, spent


def charge_of(meter: EngineMeter, engine: str, times: int, inputs: Mapping[str, Any] = ROW) -> float:
    with billed() as bill:
        for _ in range(times):
            meter.record(engine, inputs)
    return bill.cpu_s


async def test_charges_equal_consumption(engines: Counted, metered: tuple[EngineMeter, list[float]]) -> None:
    meter, spent = metered
    charged = 0.0
    for update in range(1, 21):
        meter._updated_at = time.monotonic() - 5
        charged = charge_of(meter, "a", 30) + charge_of(meter, "b", 10)
        engines.ran_s = {"a": 3.0 * update, "b": 1.0 * update}
        spent.append(8.0)
        await meter.update()
    assert charged == pytest.approx(8.0, rel=1e-3)
    assert charge_of(meter, "a", 30) == pytest.approx(6.0, rel=1e-3), "by how long each ran"
    with billed() as bill:
        meter.record("a", ROW)
    assert bill.gpu_s == pytest.approx(0.5 * 3.0 / 30)


async def test_idle_time_is_not_charged(engines: Counted, metered: tuple[EngineMeter, list[float]]) -> None:
    meter, spent = metered
    meter._updated_at = time.monotonic() - 1000
    meter.record("a", ROW)
    engines.ran_s = {"a": 0.01}
    spent.append(90.0)
    await meter.update()
    assert charge_of(meter, "a", 1) == pytest.approx(0.01), "as long as nothing else is known: one processor"


async def test_start_is_not_charged(engines: Counted, metered: tuple[EngineMeter, list[float]]) -> None:
    meter, spent = metered
    meter._updated_at = None
    for update in (1, 2, 3):
        charge_of(meter, "a", 10)
        engines.ran_s = {"a": 5.0 * update}
        spent.append(500.0 if update == 1 else 5.0)
        await meter.update()
    assert charge_of(meter, "a", 10) == pytest.approx(5.0)


async def test_counters_restart_with_triton(engines: Counted, metered: tuple[EngineMeter, list[float]]) -> None:
    meter, spent = metered
    for run_s in (100.0, 2.0):
        charge_of(meter, "a", 2)
        engines.ran_s = {"a": run_s}
        spent.append(run_s)
        await meter.update()
    assert charge_of(meter, "a", 1) > 0


async def test_another_version_is_charged_for_its_own_run_time(
    engines: Counted, metered: tuple[EngineMeter, list[float]]
) -> None:
    """Triton counts each version separately; when a second one appears, time that was charged is not charged again."""
    meter, spent = metered
    engine = f"unet-{time.monotonic_ns()}"
    hour_s = 3600.0
    for update in range(12):
        meter._updated_at = time.monotonic() - 5
        charge_of(meter, engine, 40)
        charge_of(meter, "quality", 10)
        engines.ran_s = {f"{engine}/1": hour_s + 4.0 * update, "quality/1": hour_s + 0.4 * update}
        if update > 5:
            engines.ran_s["quality/2"] = 0.1
        spent.append(4.4)
        await meter.update()
        if not update:  # earlier executions belong to no known request
            meter._prices.clear()
    with billed() as bill:
        meter.record(engine, ROW)
    assert bill.gpu_s == pytest.approx(0.5 * 4.0 / 40, rel=0.05)
    assert bill.cpu_s == pytest.approx(4.0 / 40, rel=0.05)
    assert catalogue.EXECUTIONS.value(engine, "2") == (hour_s + 44) * 10


async def test_execution_counters_never_fall(engines: Counted, metered: tuple[EngineMeter, list[float]]) -> None:
    meter, spent = metered
    engine, counts = f"quality-{time.monotonic_ns()}", []
    for versions in ({"1": 50.0}, {"1": 50.0, "2": 1.0}, {"2": 3.0}, {"1": 2.0, "2": 3.0}):
        engines.ran_s = {f"{engine}/{version}": run_s for version, run_s in versions.items()}
        spent.append(1.0)
        await meter.update()
        counts.append((catalogue.EXECUTIONS.value(engine, "2"), catalogue.EXECUTION_SECONDS.value(engine, "2")))
    assert counts == [(500, 50.0), (510, 51.0), (530, 53.0), (550, 55.0)], "version 1 was loaded anew at last"


async def test_replica_charges_no_more_gpu_time_than_it_has(
    engines: Counted, metered: tuple[EngineMeter, list[float]]
) -> None:
    meter, spent = metered
    meter._updated_at = time.monotonic() - 5
    for engine in ("a", "b"):
        charge_of(meter, engine, 10)
    engines.ran_s = {"a": 10.0, "b": 30.0}
    spent.append(8.0)
    await meter.update()
    with billed() as bill:
        for engine in ("a", "b"):
            for _ in range(10):
                meter.record(engine, ROW)
    assert bill.gpu_s == pytest.approx(0.5 * 5, rel=0.01)


class MetricsHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"# HELP nv_x x\n# TYPE nv_x gauge\nnv_x 1\n")

    def log_message(self, *_: Any) -> None:
        pass


def test_loopback_requests_bypass_the_proxy(monkeypatch: pytest.MonkeyPatch, engines: Counted) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.HTTPServer(("127.0.0.1", 0), MetricsHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        meter = EngineMeter("vectorize", engines, None)  # type: ignore[arg-type]
        samples = meter._own_metrics(f"http://127.0.0.1:{server.server_port}/metrics")
        server.shutdown()
    assert [(one.name, one.value) for one in samples] == [("nv_x", 1.0)]


def test_work_grows_with_rows_and_pictures() -> None:
    latents = np.zeros((2, 4, 8, 8), np.float32)
    prompt = np.zeros((2, 77, 768), np.float32)
    assert work_units({"sample": latents, "encoder_hidden_states": prompt}) == latents.size
    assert work_units({"ids": np.zeros((3, 77), np.int32)}) == 3


async def test_bill_counts_its_own_tasks_only() -> None:
    charge(1.0)  # no bill

    async def spends(cpu_s: float) -> None:
        await asyncio.sleep(0)
        charge(cpu_s)

    async def request(cpu_s: float) -> float:
        with billed() as bill:
            await asyncio.gather(spends(cpu_s), asyncio.create_task(spends(cpu_s)))
        return bill.cpu_s

    assert await asyncio.gather(request(1.0), request(2.0)) == [2.0, 4.0]


def test_missing_measurements_add_nothing_to_sums() -> None:
    assert total({}, {"cpu_seconds": 1.0}, {"cpu_seconds": 0.5, "gpu_seconds": 2.0}) == {
        "cpu_seconds": 1.5,
        "gpu_seconds": 2.0,
    }
