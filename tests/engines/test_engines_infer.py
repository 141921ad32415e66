"""Inference through a real Triton with the embedded backends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
import tiny_onnx
from numpy.typing import NDArray
from waiting import until

from serve.engines.client import SHARED_MEMORY_MIN_BYTES, EngineClient
from serve.engines.triton.server import TritonServer
from serve.errors import DeadlineExceeded, InvalidRequest, NotFound, Overloaded

pytestmark = pytest.mark.triton

BACKENDS = pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])


@pytest.fixture(params=["gRPC", "HTTP"])
async def engines(
    request: pytest.FixtureRequest, triton: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EngineClient]:
    """Answers and errors are the same over both. Over HTTP none is repeated over gRPC; large ones start there."""
    client = EngineClient(triton.url)
    if request.param == "HTTP":
        client.use_http(triton.http_address, triton.http_key)
        infer = client._infer

        async def infer_large(engine: str, inputs: dict[str, NDArray[Any]], *arguments: Any) -> Any:
            assert sum(array.nbytes for array in inputs.values()) >= SHARED_MEMORY_MIN_BYTES, "repeated over gRPC"
            return await infer(engine, inputs, *arguments)

        monkeypatch.setattr(client, "_infer", infer_large)
    yield client
    await client.close()


ROWS = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)


def bare(repository: Path, engine: str, backend: str, rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The same model run in this process, without Triton."""
    path = repository / engine / "1" / "model.onnx"
    if backend == "onnxruntime":
        return list(onnxruntime.InferenceSession(path).run(None, {"x": rows}))
    precision = {"INFERENCE_PRECISION_HINT": "f32"}
    results = openvino.Core().compile_model(path, "CPU", precision)({"x": rows})
    return [np.array(value) for value in results.values()]


@BACKENDS
async def test_infer_equals_the_bare_runtime(engines: EngineClient, repository: Path, backend: str) -> None:
    answer = await engines.infer(f"affine_{backend}", {"x": ROWS})
    y, z = bare(repository, f"affine_{backend}", backend, ROWS)
    assert sorted(answer) == ["y", "z"]
    np.testing.assert_allclose(answer["y"], y, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(answer["z"], z, rtol=1e-6, atol=1e-6)


@BACKENDS
async def test_infer_without_a_batch_axis(engines: EngineClient, backend: str) -> None:
    answer = await engines.infer(f"whole_{backend}", {"x": ROWS})
    np.testing.assert_allclose(answer["y"], ROWS @ tiny_onnx.WEIGHTS, rtol=1e-5, atol=1e-5)


async def test_infer_returns_only_the_named_outputs(engines: EngineClient) -> None:
    assert list(await engines.infer("affine_onnxruntime", {"x": ROWS}, outputs=["z"])) == ["z"]


async def test_infer_of_bytes(engines: EngineClient) -> None:
    words = np.array([["déjà".encode()], [b""], [b"a,b"]], np.object_)
    answer = await engines.infer("text_onnxruntime", {"text": words})
    assert answer["same"].tolist() == words.tolist()


@BACKENDS
async def test_concurrent_requests_share_runs_and_keep_their_rows(engines: EngineClient, backend: str) -> None:
    engine = f"pair_{backend}"
    before = (await engines.statistics(engine))["model_stats"][0]
    rows = [np.full((1, 3), value, np.float32) for value in range(16)]
    answers = await asyncio.gather(*(engines.infer(engine, {"a": row, "b": row}) for row in rows))
    for row, answer in zip(rows, answers, strict=True):
        np.testing.assert_array_equal(answer["total"], 2 * row)
    after = (await engines.statistics(engine))["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 16
    assert after["execution_count"] - before["execution_count"] < 16


@BACKENDS
async def test_ragged_requests_with_an_invalid_one_in_one_batch(engines: EngineClient, backend: str) -> None:
    """Triton accepts axes of different lengths, as both are free; only the invalid request fails."""
    lengths = [(2, 2), (3, 3), (2, 2), (2, 3), (5, 5)]
    answers = await asyncio.gather(
        *(
            engines.infer(f"pair_{backend}", {"a": np.ones((1, a), np.float32), "b": np.ones((1, b), np.float32)})
            for a, b in lengths
        ),
        return_exceptions=True,
    )
    for (a, b), answer in zip(lengths, answers, strict=True):
        if a == b:
            assert isinstance(answer, dict)
            np.testing.assert_array_equal(answer["total"], np.full((1, a), 2, np.float32))
        else:
            assert isinstance(answer, InvalidRequest)
            assert "[1, 2]" in answer.message
            assert "/" not in answer.message


async def test_value_that_fails_the_run_fails_its_own_request_only(engines: EngineClient) -> None:
    indices = [0, 4, 99, 9, -3]
    answers = await asyncio.gather(
        *(engines.infer("lookup_onnxruntime", {"index": np.array([[index]])}) for index in indices),
        return_exceptions=True,
    )
    for index, answer in zip(indices, answers, strict=True):
        if index == 99:
            assert isinstance(answer, InvalidRequest)
        else:
            assert isinstance(answer, dict)
            assert answer["value"][0, 0] == tiny_onnx.TABLE[index]


async def test_unknown_engine_is_not_found(engines: EngineClient) -> None:
    with pytest.raises(NotFound, match="engine 'nothing' is not served here"):
        await engines.infer("nothing", {"x": ROWS})
    with pytest.raises(NotFound):
        await engines.config("nothing")


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"x": ROWS.astype(np.float64)}, "x"),
        ({"x": ROWS[:, :3]}, "x"),
        ({"x": ROWS.astype(np.complex64)}, "x"),
        ({"surprise": ROWS}, "surprise"),
        ({"x": np.repeat(ROWS, 2, axis=0)}, None),  # 10 rows; the largest batch is 8
        ({}, None),
    ],
)
async def test_invalid_tensors_are_refused_by_name(
    engines: EngineClient, inputs: dict[str, NDArray[np.generic]], field: str | None
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await engines.infer("affine_onnxruntime", inputs)
    assert caught.value.field == field
    assert "request id" not in caught.value.message


async def test_unknown_output_is_refused(engines: EngineClient) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await engines.infer("affine_onnxruntime", {"x": ROWS}, outputs=["nothing"])
    assert caught.value.field == "nothing"


def slow_input() -> dict[str, NDArray[np.float32]]:
    return {"x": np.zeros((1, tiny_onnx.SLOW_SIDE, tiny_onnx.SLOW_SIDE), np.float32)}


async def test_deadline_ends_the_wait(engines: EngineClient) -> None:
    with pytest.raises(DeadlineExceeded):
        await engines.infer("slow_onnxruntime", slow_input(), timeout_s=0.05)
    with pytest.raises(DeadlineExceeded):
        await engines.infer("affine_onnxruntime", {"x": ROWS}, timeout_s=0)


async def test_cancelled_requests_return_at_once_and_count_as_in_flight(
    triton: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = "slow_onnxruntime"
    engines = EngineClient(triton.url, timeout_s=60, max_in_flight=4)
    call, inferring = engines._call, []

    async def counted(method: str, *arguments: Any, **options: Any) -> Any:
        inferring.extend([method] if method == "ModelInfer" else [])
        return await call(method, *arguments, **options)

    monkeypatch.setattr(engines, "_call", counted)
    waiting = [asyncio.create_task(engines.infer(engine, slow_input())) for _ in range(4)]
    await until(lambda: len(inferring) == 4)
    for task in waiting:
        task.cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    with pytest.raises(Overloaded):
        await engines.infer(engine, slow_input())
    await asyncio.wait(engines._calls.running, timeout=60)
    await engines.infer(engine, slow_input())
    await engines.close()


@pytest.mark.parametrize("limit_s", [None, 0.0005])
async def test_server_survives_many_cancellations_and_deadlines(repository: Path, limit_s: float | None) -> None:
    """Triton 2.51 ends with SIGSEGV after some hundred calls that are cancelled during their response."""
    rng = np.random.default_rng(1)
    with TritonServer(repository, ["affine_onnxruntime"]) as server:
        engines = EngineClient(server.url)
        for _ in range(800):
            task = asyncio.create_task(engines.infer("affine_onnxruntime", {"x": ROWS}, timeout_s=limit_s))
            await asyncio.sleep(0.002 * rng.random())
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        answer = await engines.infer("affine_onnxruntime", {"x": ROWS}, timeout_s=60)
        await engines.close()
        assert not [line for line in server.log() if "Signal" in line]
    np.testing.assert_allclose(answer["y"], ROWS @ tiny_onnx.WEIGHTS, rtol=1e-5)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
async def test_no_request_stalls_in_the_batcher(engines: EngineClient, backend: str) -> None:
    """With a queue policy in the config, one in ten such requests, or more, waited for 0.5 s."""
    sleepers = 0
    for _ in range(200):
        started = time.monotonic()
        await engines.infer(f"affine_{backend}", {"x": ROWS})
        sleepers += time.monotonic() - started > 0.45
    assert sleepers <= 10


async def test_metadata_config_and_probe(engines: EngineClient) -> None:
    """The shapes of the open inference protocol's JSON."""
    metadata = await engines.metadata("affine_openvino")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert metadata["versions"] == ["1"]
    config = await engines.config("affine_openvino")
    assert config["max_batch_size"] == 8
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert "affine_openvino" in await engines.engines()
    for engine in await engines.engines():
        await engines.probe(engine)
