"""What is committed: every engine's configuration, ONNX and manifest say the same."""

from __future__ import annotations

import asyncio
import hashlib
import json

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from build_engines.export.config import config_text
from build_engines.export.contracts import CONTRACTS
from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.export.parity import LIMIT
from build_engines.export.runtimes import RUNTIMES
from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer

LARGEST_BYTES = 8 * 2**20
_ONNX_TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.UINT8: "TYPE_UINT8"}


def _config(name: str):
    text = (MODEL_REPOSITORY / name / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def _onnx_tensors(values) -> list[tuple[str, str, list[int]]]:
    """Names, types and dimensions without the batch axis; -1 where free."""
    return [
        (
            v.name,
            _ONNX_TYPES[v.type.tensor_type.elem_type],
            [d.dim_value if d.HasField("dim_value") else -1 for d in v.type.tensor_type.shape.dim][1:],
        )
        for v in values
    ]


def _config_tensors(values) -> list[tuple[str, str, list[int]]]:
    return [(v.name, model_config_pb2.DataType.Name(v.data_type), list(v.dims)) for v in values]


@pytest.mark.parametrize("name", CONTRACTS)
def test_config_agrees_with_the_onnx(name: str) -> None:
    config = _config(name)
    graph = onnx.load(str(MODEL_REPOSITORY / name / "1" / "model.onnx")).graph
    assert config.name == name
    assert config.backend in RUNTIMES
    assert config.default_model_filename == "model.onnx"
    assert _config_tensors(config.input) == _onnx_tensors(graph.input)
    assert _config_tensors(config.output) == _onnx_tensors(graph.output)
    assert all(v.type.tensor_type.shape.dim[0].dim_param for v in (*graph.input, *graph.output)), "batch axis is free"


@pytest.mark.parametrize("name", CONTRACTS)
def test_config_batches_without_a_queue_policy(name: str) -> None:
    config = _config(name)
    assert config.max_batch_size == CONTRACTS[name].max_batch_size
    assert not config.dynamic_batching.HasField("default_queue_policy")
    assert max(config.dynamic_batching.preferred_batch_size) <= config.max_batch_size


@pytest.mark.parametrize("name", CONTRACTS)
def test_config_is_what_its_contract_writes(name: str) -> None:
    config = _config(name)
    assert (MODEL_REPOSITORY / name / "config.pbtxt").read_text() == config_text(CONTRACTS[name], config.backend)


@pytest.mark.parametrize("name", CONTRACTS)
def test_manifest_is_of_this_file(name: str) -> None:
    """D-070: parity below 0.03, stored beside the checksum of the file it was checked on."""
    folder = MODEL_REPOSITORY / name
    manifest = json.loads((folder / "manifest.json").read_text())
    content = (folder / "1" / "model.onnx").read_bytes()
    assert manifest["name"] == name
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["bytes"] == len(content) < LARGEST_BYTES
    assert manifest["parity"]["max_abs_error"] < LIMIT
    assert manifest["metrics"]
    assert manifest["data"]["splits"]["test"]["icons"] > 0
    assert {s["license"] for s in manifest["data"]["sets"]} <= {"CC0-1.0", "Apache-2.0", "MIT"}


@pytest.mark.parametrize("name", CONTRACTS)
def test_both_runtimes_agree_and_answer_in_range(name: str) -> None:
    contract = CONTRACTS[name]
    path = MODEL_REPOSITORY / name / "1" / "model.onnx"
    inputs = contract.example(batch=5, length=40)
    answers = [opener(path, contract)(inputs) for opener in RUNTIMES.values()]
    for tensor in contract.outputs:
        shape = (5, *(40 if d == -1 else d for d in tensor.dims))
        assert all(a[tensor.name].shape == shape for a in answers)
        np.testing.assert_allclose(answers[0][tensor.name], answers[1][tensor.name], atol=LIMIT)
        if tensor.name in ("embedding", "probabilities", "parameters", "action", "ssim", "fidelity"):
            assert answers[0][tensor.name].min() >= 0
            assert answers[0][tensor.name].max() <= 1


@pytest.mark.triton
def test_served_engines_answer_as_the_files_do() -> None:
    """D-070: the committed engines through a real Triton."""
    with TritonServer(MODEL_REPOSITORY, list(CONTRACTS)) as server:
        served = asyncio.run(_ask_each(server.url))
    for name, contract in CONTRACTS.items():
        expected = RUNTIMES["onnxruntime"](MODEL_REPOSITORY / name / "1" / "model.onnx", contract)(contract.example(3))
        for tensor in contract.outputs:
            np.testing.assert_allclose(served[name][tensor.name], expected[tensor.name], atol=LIMIT)


async def _ask_each(url: str):
    client = EngineClient(url)
    try:
        return {name: await client.infer(name, contract.example(3)) for name, contract in CONTRACTS.items()}
    finally:
        await client.close()


def test_one_request_of_a_batch_is_not_changed_by_the_others() -> None:
    contract = CONTRACTS["image_features"]
    run = RUNTIMES["onnxruntime"](MODEL_REPOSITORY / "image_features" / "1" / "model.onnx", contract)
    inputs = contract.example(batch=6)
    alone = run({key: value[2:3] for key, value in inputs.items()})["embedding"]
    np.testing.assert_allclose(run(inputs)["embedding"][2:3], alone, atol=1e-5)
