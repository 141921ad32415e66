"""How an ensemble presents itself as a model of the open inference protocol: tensors, what is asked and answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serve.api.inference.codec import InferRequest
from serve.api.inference.tensors import DTYPES, Array
from serve.errors import InvalidRequest

# Parameters of the protocol and of Triton itself: they are no model's, and not a mistake either.
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
        def told(spec: TensorSpec) -> dict[str, Any]:
            return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}

        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self.platform,
            "inputs": [told(spec) for spec in self.inputs],
            "outputs": [told(spec) for spec in self.outputs],
        }

    def config(self) -> dict[str, Any]:
        """As Triton's ``ModelConfig`` in JSON."""

        def told(spec: TensorSpec) -> dict[str, Any]:
            datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
            entry = {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": list(spec.shape)}
            return {**entry, "optional": True} if spec.optional else entry

        return {
            "name": self.name,
            "platform": self.platform,
            "backend": "atelier",
            "max_batch_size": 0,
            "input": [told(spec) for spec in self.inputs],
            "output": [told(spec) for spec in self.outputs],
            "model_transaction_policy": {"decoupled": self.decoupled},
        }

    def wanted(self, request: InferRequest) -> list[TensorSpec]:
        """The outputs that were asked for; all when none was. Raises ``InvalidRequest`` for one that there is not."""
        known = {spec.name: spec for spec in self.outputs}
        for output in request.outputs:
            if output.name not in known:
                raise InvalidRequest(f"is not an output of {self.name}; known: {', '.join(known)}", output.name[:64])
        return [known[output.name] for output in request.outputs] or list(self.outputs)


@dataclass(frozen=True)
class Answer:
    """One response to a request; the last one is ``final``. ``parameters`` are the response's own; of an ensemble,
    ``model_versions`` is JSON of which version each of its engines had, by their manifests' labels."""

    version: str
    outputs: dict[str, Array]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    final: bool = True


def told_versions(model_versions: Mapping[str, str]) -> dict[str, Any]:
    """As a parameter of a response, whose values are single ones."""
    return {"model_versions": json.dumps(dict(model_versions))}


def own_parameters(request: InferRequest) -> dict[str, Any]:
    """The request's parameters without the protocol's."""
    return {name: value for name, value in request.parameters.items() if name not in _PROTOCOL_PARAMETERS}


def to_tensors(values: Mapping[str, Any], wanted: Sequence[TensorSpec]) -> dict[str, Array]:
    """The ``wanted`` of ``values``; an array goes as it is, anything else as a tensor of shape [1], None not at all."""
    return {spec.name: _tensor(values[spec.name], spec.datatype) for spec in wanted if values[spec.name] is not None}


def _tensor(value: Any, datatype: str) -> Array:
    if isinstance(value, np.ndarray):
        return value
    if datatype == "BYTES":
        return np.array([str(value).encode()], object)
    return np.array([value], DTYPES[datatype])
