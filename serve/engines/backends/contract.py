"""An engine's contract (its ``config.pbtxt``) as a backend sees it, and the check of the ONNX model against it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from serve.engines.adapter_files import IDS, SCALES
from serve.engines.backends import THREADS_VARIABLE
from serve.engines.warmup_inputs import warmup_inputs


@dataclass(frozen=True)
class TensorSpec:
    """``dtype`` is Triton's name (``TYPE_FP32``); ``dims`` has -1 for an axis of any length."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True)
class Contract:
    """``dims`` of the specs exclude the batch axis when ``max_batch_size`` is above 0."""

    engine: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    parameters: Mapping[str, str]
    graph_level: int
    config: Mapping[str, Any]
    model_path: Path
    on_gpu: bool
    device_id: int

    @property
    def batched(self) -> bool:
        return self.max_batch_size > 0

    def warmup_inputs(self, batch_size: int) -> dict[str, NDArray[Any]]:
        """Inputs of zeros; see ``serve.engines.warmup_inputs``."""
        return warmup_inputs(self.config, batch_size)

    def load_error(self, reason: str) -> Exception:
        """The error that makes Triton refuse the engine, with this reason."""
        error: Exception = pb_utils.TritonModelException(f"engine '{self.engine}': {reason}")
        return error

    def int_parameter(self, key: str, default: int) -> int:
        """The parameter ``key`` as a non-negative integer. Raises for other values."""
        text = self.parameters.get(key, "").strip()
        if not text:
            return default
        if not text.isdigit():
            raise self.load_error(f"parameter {key} must be a non-negative number, got '{text}'")
        return int(text)

    def bool_parameter(self, key: str, default: bool) -> bool:
        """The parameter ``key`` as a boolean (``1``/``0``, ``true``/``false``, ``yes``/``no``)."""
        text = self.parameters.get(key, "").strip().lower()
        if not text:
            return default
        if text not in {"1", "true", "yes", "0", "false", "no"}:
            raise self.load_error(f"parameter {key} must be 1 or 0, got '{text}'")
        return text in {"1", "true", "yes"}


def thread_budget() -> int:
    """Threads for an engine that names no number: the server's setting, or every core this process may use."""
    return int(os.environ.get(THREADS_VARIABLE, 0)) or len(os.sched_getaffinity(0))


def read_contract(args: Mapping[str, str]) -> Contract:
    """The contract from the arguments of ``TritonPythonModel.initialize``."""
    config = json.loads(args["model_config"])
    file_name = config.get("default_model_filename") or "model.onnx"
    contract = Contract(
        engine=config["name"],
        inputs=tuple(_spec(entry) for entry in config["input"]),
        outputs=tuple(_spec(entry) for entry in config["output"]),
        max_batch_size=int(config["max_batch_size"]),
        parameters={key: entry["string_value"] for key, entry in config.get("parameters", {}).items()},
        graph_level=int(config.get("optimization", {}).get("graph", {}).get("level", 0)),
        config=config,
        model_path=Path(args["model_repository"]) / args["model_version"] / file_name,
        on_gpu=args["model_instance_kind"] == "GPU",
        device_id=int(args["model_instance_device_id"]),
    )
    if any("reshape" in entry for entry in [*config["input"], *config["output"]]):
        raise contract.load_error("'reshape' is not supported by this backend; put the reshape into the model")
    if config.get("dynamic_batching", {}).get("default_queue_policy", {}).get("max_queue_size"):
        pb_utils.Logger.log_warn(
            f"engine '{contract.engine}' bounds its queue: Triton's batcher then misses requests that come as another "
            "is answered, and sleeps for up to 0.5 s; bound what is in flight in the client instead"
        )
    if not contract.model_path.is_file():
        raise contract.load_error(f"version {args['model_version']} has no file '{file_name}'")
    return contract


def check_contract(contract: Contract, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Raises unless the model's tensors (``dims`` with the batch axis) match the engine's config."""
    # The backend resolves adapters: the model has no inputs that name them.
    own = tuple(spec for spec in contract.inputs if spec.name not in (IDS, SCALES))
    for kind, declared, provided in (("input", own, inputs), ("output", contract.outputs, outputs)):
        by_name = {spec.name: spec for spec in provided}
        for spec in declared:
            if spec.name not in by_name:
                names = ", ".join(sorted(by_name))
                raise contract.load_error(f"the config names the {kind} '{spec.name}', the model has {names}")
            _check_tensor(contract, kind, spec, by_name[spec.name])
    missing = {spec.name for spec in inputs if not spec.optional} - {spec.name for spec in contract.inputs}
    if missing:
        raise contract.load_error(
            f"the model needs the inputs {', '.join(sorted(missing))}, the config does not name them"
        )


def _check_tensor(contract: Contract, kind: str, declared: TensorSpec, provided: TensorSpec) -> None:
    label = f"{kind} '{declared.name}'"
    if declared.dtype != provided.dtype:
        raise contract.load_error(f"{label} is {declared.dtype} in the config and {provided.dtype} in the model")
    dims = ((contract.max_batch_size,) if contract.batched else ()) + declared.dims
    fits = len(dims) == len(provided.dims) and all(
        length in (wanted, -1) for wanted, length in zip(dims, provided.dims, strict=True)
    )
    if not fits:
        shape = f"{list(dims)}{' with the batch axis' if contract.batched else ''}"
        raise contract.load_error(f"{label} is {shape} in the config and {list(provided.dims)} in the model")


def _spec(entry: Mapping[str, Any]) -> TensorSpec:
    dims = tuple(int(length) for length in entry["dims"])
    return TensorSpec(entry["name"], entry["data_type"], dims, bool(entry.get("optional", False)))
