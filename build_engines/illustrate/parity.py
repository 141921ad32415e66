"""Whether an engine answers what its network answered. Both limits are relative to the RMS of the network's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from build_engines.export.contracts import Contract
from build_engines.export.parity import ParityError, torch_answers
from build_engines.export.runtimes import Arrays, Run
from build_engines.illustrate.precision import Precision

LIMITS: dict[Precision, float] = {"fp32": 1e-3, "fp16": 1e-2, "int8": 1e-1}
"""Largest RMS error. fp32 differs by the order of sums only, most in a VAE at large sizes (4e-5 at 512 px);
fp16 by 11 bits of each weight, int8 by 8."""

LARGEST = 20
"""The largest single error may be this many times the limit of the RMS error."""

_KEYS = ("max_abs_error", "max_relative_error", "relative_rms_error")

Pair = tuple[Arrays, list[npt.NDArray[Any]]]


def answers(network: nn.Module, contract: Contract, examples: Sequence[Arrays]) -> list[Pair]:
    """Each example with what ``network`` says to it."""
    return [(inputs, torch_answers(network, contract, inputs)) for inputs in examples]


def check(
    contract: Contract, openers: Mapping[str, Callable[[], Run]], expected: Sequence[Pair], precision: Precision
) -> dict[str, Any]:
    """The largest errors per runtime and overall, for the manifest. Raises ParityError past the precision's limits.

    One runtime is open at a time: an engine may take half of the memory.
    """
    return check_file(contract.name, [tensor.name for tensor in contract.outputs], openers, expected, precision)


def check_file(
    file: str,
    outputs: Sequence[str],
    openers: Mapping[str, Callable[[], Run]],
    expected: Sequence[Pair],
    precision: Precision,
) -> dict[str, Any]:
    """As `check`, of any file whose answers are ``outputs``."""
    limit = LIMITS[precision]
    report: dict[str, Any] = {}
    for name, opener in openers.items():
        run = opener()
        errors = [_errors(run(inputs), file, outputs, answers) for inputs, answers in expected]
        worst = np.max(np.array(errors), axis=0)
        report[name] = {key: float(f"{value:.3g}") for key, value in zip(_KEYS, worst, strict=True)}
    for key in _KEYS:
        report[key] = max(report[name][key] for name in openers)
    report |= {"limit": limit, "largest_limit": LARGEST * limit, "examples": len(expected)}
    if not (report["relative_rms_error"] <= limit and report["max_relative_error"] <= LARGEST * limit):
        raise ParityError(
            f"{file} differs from its network: {report['relative_rms_error']} of the RMS of the answer "
            f"(limit {limit}), at most {report['max_relative_error']} (limit {LARGEST * limit}) in {precision}"
        )
    return report


def _errors(
    answer: Arrays, file: str, names: Sequence[str], expected: Sequence[npt.NDArray[Any]]
) -> npt.NDArray[np.float64]:
    """(largest, largest relative, RMS relative) over the outputs. A level of a picture's 255 is rounding."""
    rows = []
    for name, reference in zip(names, expected, strict=True):
        if answer[name].shape != reference.shape:
            raise ParityError(f"{file}: {name} has shape {answer[name].shape}, its network's {reference.shape}")
        wanted = _visible(reference)
        gap = np.abs(_visible(answer[name]) - wanted)
        beyond = np.maximum(gap - 1, 0) if reference.dtype == np.uint8 else gap
        scale = float(np.sqrt(np.mean(wanted**2))) or 1.0
        rows.append([gap.max(), beyond.max() / scale, np.sqrt(np.mean(beyond**2)) / scale])
    worst: npt.NDArray[np.float64] = np.array(rows).max(axis=0)
    return worst


def _visible(answer: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Numbers to compare; the colours of a picture with alpha count as much as they are seen."""
    values = answer.astype(np.float64)
    if answer.dtype == np.uint8 and answer.shape[-1] == 4:
        values[..., :3] *= values[..., 3:] / 255
    return values
