"""A part as ONNX: traced, weights in the asked precision, in a file of their own where one file cannot hold them."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

from build_engines.export.contracts import Contract
from build_engines.export.onnx_file import OPSET
from build_engines.export.runtimes import Arrays
from build_engines.illustrate.precision import Precision, store
from build_engines.illustrate.shared_weights import share_weights

#: A protobuf message holds at most 2 GiB.
EXTERNAL_ABOVE_BYTES = 2**31 - 2**24


def write_onnx(
    network: nn.Module,
    contract: Contract,
    example: Arrays,
    precision: Precision,
    path: Path,
    external_above_bytes: int = EXTERNAL_ABOVE_BYTES,
) -> None:
    """Writes ``network`` to ``path``; weights beyond ``external_above_bytes`` go to ``model.onnx.data`` beside it.

    ``example`` must have two pictures or more, of odd sides, for what is traced to hold for every batch and size.

    Traced, not captured by ``torch.export``: with free axes that takes 123 s instead of 4.6 s for a UNet of 16 M
    parameters on two cores, and the engine is as fast. What tracing cannot see (a decision by a value) parity finds.
    """
    tensors = (*contract.inputs, *contract.outputs)
    axes = {t.name: {0: "batch", **t.free} for t in tensors}
    inputs = {t.name: example[t.name] for t in contract.inputs}
    model = trace(network, inputs, [t.name for t in contract.outputs], axes, path)
    _declare(model.graph, contract)
    sensitive = [name for module in network.modules() for name in getattr(module, "SENSITIVE_MODULES", ())]
    save(model, precision, path, external_above_bytes, sensitive=sensitive)


def save(
    model: onnx.ModelProto,
    precision: Precision,
    path: Path,
    external_above_bytes: int = EXTERNAL_ABOVE_BYTES,
    first: Path | None = None,
    sensitive: Collection[str] = (),
) -> None:
    """``first``: a model of the same folder, whose weights are not stored again. ``sensitive``: see ``store``."""
    store(model, precision, sensitive)
    if first is not None and share_weights(model, first):
        path.write_bytes(model.SerializeToString())
        return
    external = sum(len(t.raw_data) for t in model.graph.initializer) > external_above_bytes
    onnx.save_model(model, str(path), save_as_external_data=external, location=f"{path.name}.data", size_threshold=1024)


def trace(
    network: nn.Module, inputs: Arrays, outputs: Sequence[str], axes: Mapping[str, Mapping[int, str]], path: Path
) -> onnx.ModelProto:
    """``network`` called with ``inputs`` in their order. ``axes``: those of any length, by tensor. ``path``: where the
    model will be saved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".traced") as folder:
        traced = Path(folder) / path.name
        _trace(network, inputs, outputs, axes, traced)
        return onnx.load(str(traced))


def _trace(
    network: nn.Module, inputs: Arrays, outputs: Sequence[str], axes: Mapping[str, Mapping[int, str]], path: Path
) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(torch.from_numpy(array) for array in inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(free) for name, free in axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )


def _declare(graph: onnx.GraphProto, contract: Contract) -> None:
    """The graph's doors get the contract's shapes: tracing forgets lengths that it computed."""
    for values, tensors in ((graph.input, contract.inputs), (graph.output, contract.outputs)):
        for value, tensor in zip(values, tensors, strict=True):
            shape = ["batch", *(tensor.free.get(i + 1, length) for i, length in enumerate(tensor.dims))]
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(onnx.helper.make_tensor_value_info(tensor.name, kind, shape))
