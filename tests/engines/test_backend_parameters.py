"""The parameters of NVIDIA's C++ backends, honoured by the embedded ones; and models that no runtime can use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import in_process
import numpy as np
import psutil
import pytest
import tiny_onnx
from onnx import helper
from openvino import Core, Type

from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer
from serve.errors import EngineUnavailable

ROWS = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)

VARIANTS: dict[str, tuple[str, dict[str, str], str, dict[str, Any]]] = {
    "threads": (
        "onnxruntime",
        {"intra_op_thread_count": "3", "inter_op_thread_count": "2"},
        "",
        {"intra_op_num_threads": 3, "inter_op_num_threads": 2},
    ),
    "parallel": ("onnxruntime", {"execution_mode": "1"}, "", {"execution_mode": "ORT_PARALLEL"}),
    "plain_memory": (
        "onnxruntime",
        {"enable_mem_arena": "0", "enable_mem_pattern": "0"},
        "",
        {"enable_cpu_mem_arena": False, "enable_mem_pattern": False},
    ),
    "spinning": (
        "onnxruntime",
        {"session.intra_op.allow_spinning": "0"},
        "",
        {"session.intra_op.allow_spinning": "0"},
    ),
    "unoptimized": (
        "onnxruntime",
        {},
        "optimization { graph { level: 2 } }",
        {"graph_optimization_level": "ORT_DISABLE_ALL"},
    ),
    "basic": (
        "onnxruntime",
        {},
        "optimization { graph { level: -1 } }",
        {"graph_optimization_level": "ORT_ENABLE_BASIC"},
    ),
    "streams": (
        "openvino",
        {"NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": "2"},
        "",
        {"NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 2},
    ),
    "automatic": ("openvino", {"NUM_STREAMS": "AUTO"}, "", {}),
    "throughput": ("openvino", {"PERFORMANCE_HINT": "throughput"}, "", {"PERFORMANCE_HINT": "THROUGHPUT"}),
    "reshaped": ("openvino", {"RESHAPE_IO_LAYERS": "yes", "TARGET_DEVICE": "CPU"}, "", {"x": "[?,4]"}),
    "static": ("openvino", {"SKIP_OV_DYNAMIC_BATCHSIZE": "yes"}, "", {"x": "[?,4]"}),
    "padded": ("openvino", {"ENABLE_BATCH_PADDING": "YES"}, "", {"padded_rows": 8}),
    "half": ("openvino", {"HINT_BF16": "YES"}, "", {"INFERENCE_PRECISION_HINT": "bf16"}),
}
"""Backend, parameters, more of the config, and what the runtime then says of itself: nothing of it by default."""


def parameters(values: dict[str, str]) -> str:
    return "\n".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{text}" }} }}' for key, text in values.items()
    )


def properties(model: Any, backend: str, names: list[str]) -> dict[str, Any]:
    """The properties that the runtime of a loaded model reports."""
    if backend == "openvino":
        internal = {"padded_rows": model._padded_rows, "x": str(model._compiled.input("x").get_partial_shape())}
        found = {name: internal[name] if name in internal else model._compiled.get_property(name) for name in names}
        return {name: value.get_type_name() if isinstance(value, Type) else value for name, value in found.items()}
    options = model._session.get_session_options()
    found = {name: options.get_session_config_entry(name) if "." in name else getattr(options, name) for name in names}
    return {name: getattr(value, "name", value) for name, value in found.items()}


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant[3]])
def test_parameter_reaches_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    backend, values, extra, expected = VARIANTS[name]
    if name == "half" and "BF16" not in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    if name == "streams" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("OpenVINO has no more streams and threads than processors")
    monkeypatch.setenv("ATELIER_ENGINE_THREADS", "1")
    plain = in_process.load(monkeypatch, tiny_onnx.affine(tmp_path, "plain", backend), backend)
    folder = tiny_onnx.affine(tmp_path, name, backend, extra=f"{extra}\n{parameters(values)}")
    found, default = (
        properties(model, backend, list(expected)) for model in (in_process.load(monkeypatch, folder, backend), plain)
    )
    assert {key: type(expected[key])(value) for key, value in found.items()} == expected
    assert not any(default[key] == found[key] for key in expected)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_idle_engine_keeps_no_memory_of_its_largest_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """The warm-up's takes at least 128 MB for a layer."""
    folder = tiny_onnx.widening(tmp_path, "widening", backend)
    in_process.load(monkeypatch, tiny_onnx.affine(tmp_path, "plain", backend), backend)  # what importing it takes
    before = psutil.Process().memory_full_info().uss
    model = in_process.load(monkeypatch, folder, backend)
    assert psutil.Process().memory_full_info().uss - before < 96 * 2**20
    assert model is not None


def test_shapes_that_do_not_fit_together_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one thread OpenVINO would run on the shapes of the run before, beyond the end of the smaller input."""
    monkeypatch.setenv("ATELIER_ENGINE_THREADS", "1")
    model = in_process.load(monkeypatch, tiny_onnx.pair(tmp_path, "pair", "openvino"), "openvino")
    for a, b in [(3, 3), (2, 3), (5, 5), (3, 2), (2, 2)]:
        inputs = {"a": np.ones((2, a), np.float32), "b": np.ones((2, b), np.float32)}
        if a == b:
            np.testing.assert_array_equal(model._run(inputs, ["total"])[0], np.full((2, a), 2, np.float32))
        else:
            with pytest.raises(sys.modules[type(model).__module__].RunFailed):
                model._run(inputs, ["total"])


@pytest.mark.triton
async def test_parameters_do_not_change_results(tmp_path: Path) -> None:
    for name, (backend, values, extra, _) in VARIANTS.items():
        tiny_onnx.affine(tmp_path, name, backend, extra=f"dynamic_batching {{ }}\n{extra}\n{parameters(values)}")
    with TritonServer(tmp_path, list(VARIANTS), threads=1) as server:
        engines = EngineClient(server.url)
        for name in VARIANTS:
            answer = await engines.infer(name, {"x": ROWS})
            tolerance = 0.05 if name == "half" else 1e-5
            np.testing.assert_allclose(answer["y"], ROWS @ tiny_onnx.WEIGHTS, atol=tolerance, err_msg=name)
            assert answer["z"].shape == (3, 3), name
        await engines.close()


@pytest.mark.triton
@pytest.mark.parametrize(
    ("backend", "values", "reason"),
    [
        ("onnxruntime", {"intra_op_thread_count": "many"}, "intra_op_thread_count must be a non-negative number"),
        ("onnxruntime", {"execution_mode": "7"}, "execution_mode must be 0"),
        ("onnxruntime", {"enable_mem_arena": "perhaps"}, "enable_mem_arena must be 1 or 0"),
        ("openvino", {"NUM_STREAMS": "few"}, "NUM_STREAMS must be one of AUTO, NUMA"),
        ("openvino", {"HINT_BF16": "NO"}, "HINT_BF16 must be one of YES"),
        ("openvino", {"TARGET_DEVICE": "ABACUS"}, "OpenVINO cannot compile model.onnx"),
        ("openvino", {"COMPILATION_NUM_THREADS": "2"}, "Unsupported property COMPILATION_NUM_THREADS by CPU"),
    ],
)
def test_invalid_parameters_are_refused(tmp_path: Path, backend: str, values: dict[str, str], reason: str) -> None:
    tiny_onnx.affine(tmp_path, "affine", backend, extra=parameters(values))
    with pytest.raises(EngineUnavailable, match=reason):
        TritonServer(tmp_path, ["affine"]).start()


@pytest.mark.triton
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_file_that_is_no_model_is_refused(tmp_path: Path, backend: str) -> None:
    folder = tiny_onnx.affine(tmp_path, "affine", backend)
    model = folder / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:100])
    with pytest.raises(EngineUnavailable, match="engine 'affine'") as caught:
        TritonServer(tmp_path, ["affine"]).start()
    assert str(tmp_path) not in caught.value.message


@pytest.mark.triton
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_model_that_drops_its_batch_axis_is_refused(tmp_path: Path, backend: str) -> None:
    """A model that reduces its batch axis returns one row for all requests: it is refused at load."""
    tiny_onnx.write_engine(
        tmp_path,
        "sum",
        backend,
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[0], keepdims=1)],
        {"x": ("TYPE_FP32", [4])},
        {"y": ("TYPE_FP32", [4])},
    )
    with pytest.raises(EngineUnavailable, match=r"output 'y'"):
        TritonServer(tmp_path, ["sum"]).start()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
async def test_tensors_keep_their_names_through_removed_casts(tmp_path: Path, backend: str) -> None:
    """OpenVINO removes such casts, and gives their names to the remaining tensors."""
    tiny_onnx.aliased(tmp_path, "aliased", backend)
    with TritonServer(tmp_path, ["aliased"]) as server:
        client = EngineClient(server.url)
        found = await client.infer("aliased", {"x": np.array([[-1, 0, 1, 2]], np.float32)})
        await client.close()
    assert found["y"].tolist() == [[0, 0, 1, 2]]


def test_openvino_import_sends_no_telemetry() -> None:
    """It would call Google Analytics in a child process, which becomes a zombie where packets are dropped."""
    program = """
import sys, types
sys.modules["triton_python_backend_utils"] = types.ModuleType("triton_python_backend_utils")
import serve.engines.backends.openvino.model
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"
