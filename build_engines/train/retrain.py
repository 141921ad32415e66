"""Retraining of `quality` on a site's own conversions (D-081): incremental, judged before it is exported.

It begins with the weights that are served, and each step learns from as many original pictures as from the site's. The
result is refused unless it is better on conversions of the site that it has not seen and not worse on the test split.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from tqdm import trange

from build_engines.train.joint import quality_error
from build_engines.train.networks import Quality
from build_engines.train.site_samples import TRIALS, Learnt
from serve.vector.parameters import CANDIDATE_WIDTH

MAX_EPOCHS = 20
LEAST_PICTURES, LEAST_JUDGED = 50, 10
"""Of the site, altogether and to judge by."""
WORSE, NOISE = 1.02, 1e-3
"""An error on the test split may be this many times what it was, and this much more: less is noise."""
LEAST_CORRELATION = 0.3
"""Rank correlation of predictions with what the site measured; that of random labels is about 0."""
_Z95_ONE_SIDED = 1.645
_BATCH = 32
_KEPT, _KEPT_BATCH = 5.0, 128
"""Weight and batch of what is not to be forgotten: a site's pictures may lie far from all original ones."""
_SHARES = (1.0, 0.75, 0.5, 0.25)
_OUTPUTS = ("ssim", "fidelity", "log2_bytes", "log2_ms", "log2_paths")
Errors = dict[str, npt.NDArray[np.float64]]
_JUDGED = ("ssim", "fidelity", "log2_bytes", "log2_paths")


@dataclass(frozen=True)
class Data:
    """``train`` to learn from, ``choose`` for the best epoch, ``judge`` untouched by both."""

    train: Learnt
    choose: Learnt
    judge: Learnt


@dataclass(frozen=True)
class Verdict:
    """``reasons`` against the retrained network; empty: it is better. ``report`` has the figures."""

    reasons: list[str]
    report: dict[str, Any]


def retrain(start: Quality, site: Data, original: Data, epochs: int = MAX_EPOCHS, seed: int = 0) -> Quality:
    """``start`` trained on: of its epochs, and of the weights between them and ``start`` (Wortsman et al. 2022, "Robust
    fine-tuning"), those that are best on the site's pictures to choose by, among those not worse on the original ones.

    On original pictures, and between them, it also learns what ``start`` predicts for any candidates, so that it
    forgets little (learning without forgetting, Li and Hoiem 2016).
    """
    torch.manual_seed(seed)
    start = copy.deepcopy(start).eval()
    network, best = copy.deepcopy(start), start
    known, least = errors(start, original.choose), errors(start, site.choose)["ssim"].mean()
    steps = math.ceil(max(len(site.train), len(original.train)) / _BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-4, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    for _ in trange(epochs, desc="quality", unit="epoch"):
        network.train()
        for _ in range(steps):
            optimizer.zero_grad()
            loss = _loss(network, site.train) + _loss(network, original.train)
            loss = loss + _KEPT * _forgotten(network, start, original.train.embedding)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        for share in _SHARES:
            found = between(start, network, share)
            now = errors(found, site.choose)["ssim"].mean()
            if now < least and not worse(known, errors(found, original.choose)):
                best, least = found, now
    return best


def between(start: Quality, end: Quality, share: float) -> Quality:
    """Of the weights of both: ``share`` 0 is ``start``, 1 is ``end``."""
    made = copy.deepcopy(start)
    last = end.state_dict()
    made.load_state_dict({
        name: torch.lerp(value, last[name], share) if value.is_floating_point() else last[name]
        for name, value in start.state_dict().items()
    })  # fmt: skip
    return made.eval()


def _forgotten(network: Quality, start: Quality, embedding: torch.Tensor) -> torch.Tensor:
    """How far ``network`` is from ``start`` on pictures of ``embedding`` (M, 512) and between pairs of them, over
    candidates from everywhere."""
    chosen, other = (embedding[torch.randint(0, len(embedding), (_KEPT_BATCH,))] for _ in range(2))
    mixed = torch.rand(_KEPT_BATCH, 1) * torch.randint(0, 2, (_KEPT_BATCH, 1))
    chosen = torch.lerp(chosen, other, mixed)
    rows = torch.rand(_KEPT_BATCH, TRIALS, CANDIDATE_WIDTH)
    rows[..., 0] = 0
    with torch.no_grad():
        expected = start.logarithms(chosen, rows)
    return quality_error(network.logarithms(chosen, rows), expected)


def worse(old: Errors, new: Errors) -> list[str]:
    """Names of the outputs whose error has grown by more than what is noise."""
    return [name for name in _JUDGED if new[name].mean() > WORSE * old[name].mean() + NOISE]


def compare(before: Quality, after: Quality, site: Learnt, original: Learnt) -> Verdict:
    """Whether ``after`` may take the place of ``before``, by pictures that neither was trained on."""
    reasons, report = [], {}
    old, new = errors(before, site), errors(after, site)
    gain = old["ssim"] - new["ssim"]
    least = float(gain.mean() - _Z95_ONE_SIDED * gain.std(ddof=1) / math.sqrt(len(gain)))
    correlation = _correlation(after, site)
    report["site"] = {
        "pictures": len(site),
        "before": _means(old),
        "after": _means(new),
        "ssim_gain_at_least": round(least, 5),
        "rank_correlation": round(correlation, 4),
    }
    if least <= 0:
        reasons.append(
            f"on the site's own pictures its error of SSIM is {new['ssim'].mean():.4f}, and was "
            f"{old['ssim'].mean():.4f}: not surely better"
        )
    if not correlation >= LEAST_CORRELATION:
        reasons.append(
            f"its predictions do not follow what the site measured (rank correlation {correlation:.2f}, at least "
            f"{LEAST_CORRELATION}): are the samples right?"
        )
    old, new = errors(before, original), errors(after, original)
    report["test_split"] = {"pictures": len(original), "before": _means(old), "after": _means(new)}
    reasons += [
        f"on the test split its error of {name} is {new[name].mean():.4f}, and was {old[name].mean():.4f}"
        for name in worse(old, new)
    ]
    return Verdict(reasons, report)


@torch.no_grad()
def _predicted(network: Quality, learnt: Learnt) -> npt.NDArray[np.float32]:
    """Logarithms (M, K, 5)."""
    predicted = network.eval().logarithms(learnt.embedding, torch.from_numpy(learnt.labels.candidates))
    return np.asarray(predicted.numpy(), np.float32)


def errors(network: Quality, learnt: Learnt) -> Errors:
    """Mean absolute error of each output, per picture (M,): of both SSIMs as such, of the others as logarithms."""
    predicted, actual = _predicted(network, learnt), learnt.labels.logarithms
    found = {}
    for i, name in enumerate(_OUTPUTS):
        guess, truth = predicted[..., i], actual[..., i]
        if i < 2:
            guess, truth = np.exp2(np.minimum(guess, 0)), np.exp2(truth)
        found[name] = np.abs(guess - truth).mean(axis=1).astype(np.float64)
    return found


def _correlation(network: Quality, learnt: Learnt) -> float:
    pairs = _predicted(network, learnt)[..., 0].ravel(), learnt.labels.logarithms[..., 0].ravel()
    return 0.0 if min(map(np.ptp, pairs)) == 0 else float(spearmanr(*pairs).statistic)


def _means(found: Errors) -> dict[str, float]:
    return {name: round(float(found[name].mean()), 5) for name in _JUDGED}


def _loss(network: Quality, learnt: Learnt) -> torch.Tensor:
    rows = torch.randint(0, len(learnt), (_BATCH,))
    labels = learnt.labels
    predicted = network.logarithms(learnt.embedding[rows], torch.from_numpy(labels.candidates[rows]))
    return quality_error(predicted, torch.from_numpy(labels.logarithms[rows]))
