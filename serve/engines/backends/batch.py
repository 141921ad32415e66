"""Batch execution: concatenate the requests, run the model once, split the outputs. A failing request fails alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from serve.engines.backends.contract import Contract

Arrays = dict[str, NDArray[Any]]
#: (inputs by name, names of the requested outputs) -> the outputs in that order. Raises RunFailed.
Run = Callable[[Arrays, Sequence[str]], Sequence[NDArray[Any]]]
#: Requests are checked for cancellation when the last run took longer than this, in seconds. One check costs 0.1 ms.
CANCEL_CHECK_ABOVE_S = 0.02


class RunFailed(Exception):
    """The runtime rejected the inputs. The message may contain paths: for the log only."""


@dataclass(frozen=True)
class _BatchEntry:
    position: int
    request: Any
    inputs: Arrays
    rows: int


class Batcher:
    """Executes Triton's requests with ``run``. Requests with equal shapes share one run."""

    def __init__(self, contract: Contract, run: Run) -> None:
        self._contract = contract
        self._timed_run = run
        self._last_run_s = 0.0
        self._order = [spec.name for spec in contract.outputs]

    def _run(self, inputs: Arrays, names: Sequence[str]) -> Sequence[NDArray[Any]]:
        started = time.perf_counter()
        outputs = self._timed_run(inputs, names)
        self._last_run_s = time.perf_counter() - started
        return outputs

    def warm_up(self) -> None:
        """Run zeros at batch size 1 and at the maximum. Refuses the engine when its outputs do not match its config."""
        for batch_size in sorted({1, max(1, self._contract.max_batch_size)}):
            try:
                outputs = self._run(self._contract.warmup_inputs(batch_size), self._order)
            except RunFailed as error:
                raise self._contract.load_error(f"cannot run on zeros: {error}") from error
            for spec, output in zip(self._contract.outputs, outputs, strict=True):
                dims = (batch_size, *spec.dims) if self._contract.batched else spec.dims
                fits = len(dims) == output.ndim and all(a in (b, -1) for a, b in zip(dims, output.shape, strict=True))
                if not fits:
                    raise self._contract.load_error(
                        f"output '{spec.name}' has shape {list(output.shape)}, not {list(dims)}"
                    )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in request order."""
        responses: list[Any] = [None] * len(requests)
        for members in self._group_by_shape(requests):
            # The check is a round trip to Triton, so fast engines skip it.
            if self._last_run_s > CANCEL_CHECK_ABOVE_S:
                members = [member for member in members if not self._drop_cancelled(member, responses)]
            if members:
                self._run_group(members, responses)
        return responses

    def _group_by_shape(self, requests: Sequence[Any]) -> list[list[_BatchEntry]]:
        groups: dict[Any, list[_BatchEntry]] = {}
        for position, request in enumerate(requests):
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            rows = len(next(iter(inputs.values()))) if self._contract.batched else 1
            shapes = tuple(sorted((name, array.shape[1:]) for name, array in inputs.items()))
            key = shapes if self._contract.batched else position
            groups.setdefault(key, []).append(_BatchEntry(position, request, inputs, rows))
        return list(groups.values())

    def _drop_cancelled(self, member: _BatchEntry, responses: list[Any]) -> bool:
        cancelled = bool(member.request.is_cancelled())
        if cancelled:
            responses[member.position] = _error_response("cancelled", pb_utils.TritonError.CANCELLED)
        return cancelled

    def _run_group(self, members: Sequence[_BatchEntry], responses: list[Any]) -> None:
        wanted = [set(member.request.requested_output_names()) for member in members]
        names = [name for name in self._order if any(name in names for names in wanted)]
        try:
            outputs = self._run(_concatenate(members), names)
        except RunFailed as error:
            if len(members) == 1:
                responses[members[0].position] = self._classify_failure(members[0], error)
            else:
                for member in members:
                    self._run_group([member], responses)
            return
        start = 0
        for member, own in zip(members, wanted, strict=True):
            stop = start + member.rows
            tensors = [
                pb_utils.Tensor(name, output[start:stop] if self._contract.batched else output)
                for name, output in zip(names, outputs, strict=True)
                if name in own
            ]
            responses[member.position] = pb_utils.InferenceResponse(tensors)
            start = stop

    def _classify_failure(self, member: _BatchEntry, error: RunFailed) -> Any:
        """Run zeros: if they succeed the request is invalid, otherwise the engine is broken."""
        pb_utils.Logger.log_error(f"engine '{self._contract.engine}' could not run: {error}")
        try:
            self._run(self._contract.warmup_inputs(1), self._order)
        except RunFailed:
            return _error_response(
                f"engine '{self._contract.engine}' fails on every input", pb_utils.TritonError.INTERNAL
            )
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in member.inputs.items())
        reason = f"engine '{self._contract.engine}' cannot run inputs of these shapes or values: {shapes}"
        return _error_response(reason, pb_utils.TritonError.INVALID_ARG)


def _concatenate(members: Sequence[_BatchEntry]) -> Arrays:
    if len(members) == 1:
        return members[0].inputs
    return {name: np.concatenate([member.inputs[name] for member in members]) for name in members[0].inputs}


def _error_response(reason: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(reason, code))
