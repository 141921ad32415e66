"""A torch network as one ONNX file with the contract's names and a free batch axis."""

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from build_engines.export.contracts import Contract, Tensor

OPSET = 18


def _axes(tensor: Tensor) -> dict[int, torch.export.Dim]:
    return {i: torch.export.Dim(name, min=1) for i, name in {0: "batch", **tensor.free}.items()}


def write_onnx(network: nn.Module, contract: Contract, path: Path) -> None:
    """Exports ``network`` (in evaluation mode) to ``path``, weights inside."""
    network.eval()
    example = {name: torch.from_numpy(value) for name, value in contract.example(batch=3).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns about packages that are not needed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(example.values()),
            str(path),
            input_names=[t.name for t in contract.inputs],
            output_names=[t.name for t in contract.outputs],
            dynamic_shapes=tuple(_axes(t) for t in contract.inputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
