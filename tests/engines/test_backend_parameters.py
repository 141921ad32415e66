"""The parameters of NVIDIA's C++ backends, honoured by the embedded ones; and models that no runtime can use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_onnx
from onnx import helper

from serve.engines.client import Engines
from serve.engines.server import TritonServer
from serve.errors import EngineUnavailable

pytestmark = pytest.mark.triton

ROWS = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)

VARIANTS: dict[str, tuple[str, dict[str, str], str]] = {
    "threads": ("onnxruntime", {"intra_op_thread_count": "1", "inter_op_thread_count": "1"}, ""),
    "parallel": ("onnxruntime", {"execution_mode": "1", "inter_op_thread_count": "2"}, ""),
    "plain_memory": ("onnxruntime", {"enable_mem_arena": "0", "enable_mem_pattern": "0"}, ""),
    "unoptimized": ("onnxruntime", {}, "optimization { graph { level: 2 } }"),
    "basic": ("onnxruntime", {}, "optimization { graph { level: -1 } }"),
    "streams": ("openvino", {"NUM_STREAMS": "AUTO", "INFERENCE_NUM_THREADS": "1"}, ""),
    "throughput": ("openvino", {"PERFORMANCE_HINT": "throughput"}, ""),
    "reshaped": ("openvino", {"RESHAPE_IO_LAYERS": "yes", "TARGET_DEVICE": "CPU"}, ""),
    "padded": ("openvino", {"ENABLE_BATCH_PADDING": "YES"}, ""),
    "half": ("openvino", {"HINT_BF16": "YES"}, ""),
}


def parameters(values: dict[str, str]) -> str:
    return "\n".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{text}" }} }}' for key, text in values.items()
    )


async def test_every_parameter_is_taken_and_changes_no_answer(tmp_path: Path) -> None:
    for name, (backend, values, extra) in VARIANTS.items():
        tiny_onnx.affine(tmp_path, name, backend, extra=f"dynamic_batching {{ }}\n{extra}\n{parameters(values)}")
    with TritonServer(tmp_path, list(VARIANTS), threads=1) as server:
        engines = Engines(server.url)
        for name in VARIANTS:
            answer = await engines.infer(name, {"x": ROWS})
            tolerance = 0.05 if name == "half" else 1e-5
            np.testing.assert_allclose(answer["y"], ROWS @ tiny_onnx.WEIGHTS, atol=tolerance, err_msg=name)
            assert answer["z"].shape == (3, 3), name
        await engines.close()


@pytest.mark.parametrize(
    ("backend", "values", "reason"),
    [
        ("onnxruntime", {"intra_op_thread_count": "many"}, "intra_op_thread_count must be a non-negative number"),
        ("onnxruntime", {"execution_mode": "7"}, "execution_mode must be 0"),
        ("onnxruntime", {"enable_mem_arena": "perhaps"}, "enable_mem_arena must be 1 or 0"),
        ("openvino", {"NUM_STREAMS": "few"}, "NUM_STREAMS must be one of AUTO, NUMA"),
        ("openvino", {"HINT_BF16": "NO"}, "HINT_BF16 must be one of YES"),
        ("openvino", {"TARGET_DEVICE": "ABACUS"}, "OpenVINO cannot compile the model"),
    ],
)
def test_bad_parameters_are_refused(tmp_path: Path, backend: str, values: dict[str, str], reason: str) -> None:
    tiny_onnx.affine(tmp_path, "affine", backend, extra=parameters(values))
    with pytest.raises(EngineUnavailable, match=reason):
        TritonServer(tmp_path, ["affine"]).start()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_that_is_no_model(tmp_path: Path, backend: str) -> None:
    folder = tiny_onnx.affine(tmp_path, "affine", backend)
    model = folder / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:100])
    with pytest.raises(EngineUnavailable, match="engine 'affine'") as caught:
        TritonServer(tmp_path, ["affine"]).start()
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_engine_that_cannot_run_on_zeros_or_loses_its_batch(tmp_path: Path, backend: str) -> None:
    """A model that sums its batch away answers one row for all requests: refused before it serves any."""
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
