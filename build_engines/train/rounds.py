"""Labels where the choice falls: the predictor proposes, the tracers answer, the predictor learns from it.

A predictor trained on samples from all over the box is least sure where it matters, near the parameters that look
best to it. So in each round the candidates that it likes best for a picture are really traced and join the labels
(dataset aggregation, Ross et al. 2011), and its head is trained again on the finished embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from build_engines.labels.candidates import candidates
from build_engines.labels.collect import Drawn
from build_engines.labels.store import Labels, LabelStore
from build_engines.train.networks import Quality
from build_engines.train.pictures import Labelled
from build_engines.train.reward import predicted_reward
from build_engines.train.trial import Trials
from serve.vector.parameters import LEARNED, MAX_REFINE, to_candidate

Rows = npt.NDArray[np.float32]
PROPOSED = 4
"""Candidates per picture and round."""
_POOL = 300
_SPREAD = 0.12


@dataclass(frozen=True)
class Ground:
    """One split's labelled pictures with their embeddings (M, 512), rules' rows (M, 10) and labels."""

    pictures: Sequence[Drawn]
    embedding: Tensor
    rules: Rows
    labels: Labelled


def proposer(quality: Quality, rules: Rows, steps: int) -> str:
    """Twelve hex digits that tell who proposes: the network that the rounds begin with, the rules' rows, and the steps
    between rounds. What another proposed is no label of this one's choices.
    """
    digest = hashlib.sha256(f"{steps}".encode())
    for name, tensor in quality.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    digest.update(rules.tobytes())
    return digest.hexdigest()[:12]


def propose(quality: Quality, ground: Ground, round_: int, seed: int = 0) -> Rows:
    """(M, PROPOSED, 10): in the first round the rules' row and three near it; later the best predicted of a pool."""
    rng = np.random.default_rng([seed, round_])
    if round_ == 0:
        near = np.stack([_near(ground.rules, rng) for _ in range(PROPOSED - 1)], axis=1)
        return np.concatenate([ground.rules[:, None], near], axis=1)
    everywhere = np.stack([to_candidate(p) for p in candidates(_POOL, seed + round_)[2:]])
    everywhere[everywhere[:, 0] == 0, -1] = 1 / MAX_REFINE
    chosen = []
    for row, rule in zip(ground.embedding, ground.rules, strict=True):
        pool = np.concatenate([everywhere, _near(np.repeat(rule[None], _POOL, axis=0), rng)])
        with torch.no_grad():
            reward = predicted_reward(quality, row[None], torch.from_numpy(pool)[None])[0].numpy()
        best = np.argsort(-reward)[: 3 * PROPOSED]
        chosen.append(pool[rng.choice(best, PROPOSED, replace=False)])
    return np.stack(chosen)


def _near(rows: Rows, rng: np.random.Generator) -> Rows:
    """Every row of the coverage tracer moved a little, with one round of refinement."""
    moved = rows.copy()
    mask = rng.random((len(rows), LEARNED)) < 0.6
    moved[:, 1:-1] = np.clip(rows[:, 1:-1] + mask * rng.normal(0, _SPREAD, (len(rows), LEARNED)), 0, 1)
    moved[:, -1] = 1 / MAX_REFINE
    return moved


def trace_proposed(quality: Quality, ground: Ground, round_: int, trials: Trials, store: LabelStore) -> Ground:
    """``ground`` with PROPOSED more labels per picture; those that ``store`` has from an earlier run are kept."""
    missing = [i for i, picture in enumerate(ground.pictures) if picture.name not in store]
    if missing:
        rows = propose(quality, ground, round_)[missing]
        _, measures = trials.measure([ground.pictures[i] for i in missing], rows)
        for i, row, measured in zip(missing, rows, measures, strict=True):
            store.write(ground.pictures[i].name, Labels(row, measured))
    added = [store.read(picture.name) for picture in ground.pictures]
    old = ground.labels
    labels = Labelled(
        old.index,
        np.concatenate([old.candidates, np.stack([a.candidates for a in added])], axis=1),
        np.concatenate([old.measures, np.stack([a.measures for a in added])], axis=1),
    )
    return replace(ground, labels=labels)
