"""The description of an ensemble as a model of the open inference protocol: its tensors and parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serve.api.inference.codec import InferRequest
from serve.api.inference.tensors import DTYPES, Array
from serve.errors import InvalidRequest

# Parameters of the protocol and of Triton itself: no model sees them.
_PROTOCOL_PARAMETERS = frozenset(
    [
        "binary_data_output",
        "headers",
        "priority",
        "timeout",
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "triton_enable_empty_final_response",
    ]
)


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as metadata and configuration show it; -1 is a free axis."""

    name: str
    datatype: str
    shape: Sequence[int] = (1,)
    optional: bool = False


@dataclass(frozen=True)
class ModelDescription:
    """``decoupled``: over a stream, one request may get several answers."""

    name: str
    platform: str
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    decoupled: bool = False
    version: str = "1"

    def metadata(self) -> dict[str, Any]:
        def entry(spec: TensorSpec) -> dict[str, Any]:
            return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}

        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self.platform,
            "inputs": [entry(spec) for spec in self.inputs],
            "outputs": [entry(spec) for spec in self.outputs],
        }

    def config(self) -> dict[str, Any]:
        """Triton's ``ModelConfig`` as JSON."""

        def entry(spec: TensorSpec) -> dict[str, Any]:
            datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
            item = {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": list(spec.shape)}
            return {**item, "optional": True} if spec.optional else item

        return {
            "name": self.name,
            "platform": self.platform,
            "backend": "atelier",
            "max_batch_size": 0,
            "input": [entry(spec) for spec in self.inputs],
            "output": [entry(spec) for spec in self.outputs],
            "model_transaction_policy": {"decoupled": self.decoupled},
        }

    def requested_outputs(self, request: InferRequest) -> list[TensorSpec]:
        """The outputs that ``request`` names; all when it names none. Raises ``InvalidRequest`` for an unknown one."""
        known = {spec.name: spec for spec in self.outputs}
        for output in request.outputs:
            if output.name not in known:
                raise InvalidRequest(f"is not an output of {self.name}; known: {', '.join(known)}", output.name[:64])
        return [known[output.name] for output in request.outputs] or list(self.outputs)


@dataclass(frozen=True)
class Answer:
    """One response to a request; the last one is ``final``. ``parameters`` are the response's own: of an ensemble,
    ``model_versions`` is JSON with the version of each of its engines, by the labels in their manifests."""

    version: str
    outputs: dict[str, Array]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    final: bool = True


def versions_parameter(model_versions: Mapping[str, str]) -> dict[str, Any]:
    """The versions as one parameter of a response: JSON, since a parameter holds a single value."""
    return {"model_versions": json.dumps(dict(model_versions))}


def own_parameters(request: InferRequest) -> dict[str, Any]:
    """The request's parameters without the protocol's."""
    return {name: value for name, value in request.parameters.items() if name not in _PROTOCOL_PARAMETERS}


def to_tensors(values: Mapping[str, Any], specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """The ``values`` named by ``specs``: arrays unchanged, other values as tensors of shape [1], None left out."""
    return {spec.name: _tensor(values[spec.name], spec.datatype) for spec in specs if values[spec.name] is not None}


def _tensor(value: Any, datatype: str) -> Array:
    if isinstance(value, np.ndarray):
        return value
    if datatype == "BYTES":
        return np.array([str(value).encode()], object)
    return np.array([value], DTYPES[datatype])
