"""How good the heads are, as their manifests report it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from build_engines.data import CONDITIONS
from build_engines.data.kinds import LOGO_TYPES

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


def calibration_error(probabilities: Floats, kinds: Integers, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): mean |confidence - accuracy| over equal-width bins."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == kinds
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[at == b].mean() - correct[at == b].mean()) * (at == b).mean() for b in np.unique(at)]
    return float(np.sum(gaps))


def confidence_correlation(probabilities: Floats, kinds: Integers, bins: int = 10) -> float:
    """Pearson correlation of mean confidence and accuracy over bins of equal count (D-013)."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == kinds
    groups = np.array_split(np.argsort(confidence), bins)
    means = [(confidence[g].mean(), correct[g].mean()) for g in groups if len(g)]
    return float(np.corrcoef(np.array(means).T)[0, 1])


def type_metrics(
    probabilities: Floats, kinds: Integers, conditions: Integers, clear: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """``accuracy`` and all else is over every picture; ``accuracy_of_clear`` over those whose type is ``clear``."""
    predicted = probabilities.argmax(axis=1)
    correct = predicted == kinds
    confusion = np.zeros((len(LOGO_TYPES), len(LOGO_TYPES)), int)
    np.add.at(confusion, (kinds, predicted), 1)
    return {
        "count": len(kinds),
        "accuracy": _round(correct.mean()),
        "clear_share": _round(clear.mean()),
        "accuracy_of_clear": _round(correct[clear].mean()),
        "recall_of_clear": {
            t: _round(correct[clear & (kinds == i)].mean())
            for i, t in enumerate(LOGO_TYPES)
            if (clear & (kinds == i)).any()
        },
        "accuracy_of_clear_by_condition": _by_condition(correct[clear], conditions[clear]),
        "recall": {t: _round(correct[kinds == i].mean()) for i, t in enumerate(LOGO_TYPES) if (kinds == i).any()},
        "accuracy_by_condition": _by_condition(correct, conditions),
        "expected_calibration_error": _round(calibration_error(probabilities, kinds)),
        "confidence_accuracy_correlation": _round(confidence_correlation(probabilities, kinds)),
        "confusion_rows_true": confusion.tolist(),
    }


def quality_metrics(predicted: Floats, actual: Floats, conditions: Integers) -> dict[str, Any]:
    """``predicted`` and ``actual`` (M, K, 5): logarithms as `Quality` predicts them; ``conditions`` (M,)."""
    report: dict[str, Any] = {"pairs": int(predicted.shape[0] * predicted.shape[1])}
    for i, name in enumerate(("ssim", "fidelity")):
        guess, truth = 1 - np.exp2(np.minimum(predicted[..., i], 0)), 1 - np.exp2(actual[..., i])
        near = (np.abs(guess - truth) <= 0.05).mean(axis=1)
        report[name] = {
            "share_within_0.05": _round(near.mean()),
            "mean_absolute_error": _round(np.abs(guess - truth).mean()),
            "spearman": _round(spearmanr(guess.ravel(), truth.ravel()).statistic),
            "spearman_within_picture": _round(_spearman_within(guess, truth)),
            "share_within_0.05_by_condition": _by_condition(near, conditions),
        }
    for i, name in ((2, "log2_bytes"), (3, "log2_ms"), (4, "log2_paths")):
        report[name] = {
            "mean_absolute_error": _round(np.abs(predicted[..., i] - actual[..., i]).mean()),
            "spearman": _round(spearmanr(predicted[..., i].ravel(), actual[..., i].ravel()).statistic),
        }
    return report


def _spearman_within(guess: Floats, truth: Floats) -> float:
    """Mean over pictures of the rank correlation among the picture's own candidates."""
    values = [spearmanr(g, t).statistic for g, t in zip(guess, truth, strict=True) if np.ptp(t) > 0 and np.ptp(g) > 0]
    return float(np.mean(values)) if values else 0.0


def _by_condition(values: npt.NDArray[Any], conditions: Integers) -> dict[str, float]:
    present = {name: values[conditions == i] for i, name in enumerate(CONDITIONS)}
    return {name: _round(v.mean()) for name, v in present.items() if len(v)}


def _round(value: float) -> float:
    return round(float(value), 4)
