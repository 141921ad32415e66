"""Labels of the rounds belong to the network that proposed them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_icons import icons

from build_engines.labels.collect import Drawn
from build_engines.labels.store import LabelStore
from build_engines.train import actors
from build_engines.train.actors import Grounds, learn_in_rounds
from build_engines.train.networks import Quality
from build_engines.train.pictures import Labelled
from build_engines.train.rounds import PROPOSED, Ground, Rows
from serve.vector.parameters import CoverageParameters, to_candidate


class CountingTrials:
    """Stands in for the tracers: measures of ones, and how many pictures were asked for."""

    traced = 0

    def measure(self, pictures: Sequence[Drawn], rows: Rows) -> tuple[Rows, Rows]:
        self.traced += len(pictures)
        return np.ones((len(rows), 5), np.float32), np.ones((*rows.shape[:2], 5), np.float32)


def network(seed: int) -> Quality:
    torch.manual_seed(seed)
    return Quality().eval()


def grounds(tolerance: float = 0.25) -> Grounds:
    rules = np.stack([to_candidate(CoverageParameters(tolerance=tolerance, refine=1))] * 3)
    labels = Labelled(np.arange(3), np.zeros((3, 2, 10), np.float32), np.zeros((3, 2, 5), np.float32))
    ground = Ground([Drawn(icon, 0) for icon in icons(3)], torch.zeros(3, 512), rules, labels)
    return {"train": ground, "val": ground}


def traced(folder: Path, quality: Quality, known: Grounds, steps: int = 10) -> int:
    trials = CountingTrials()
    store = LabelStore("tag", folder)
    _, learned = learn_in_rounds(quality, known, torch.zeros(1, 3, 512), 2, steps, trials, store)  # type: ignore[arg-type]
    assert learned["train"].labels.measures.shape == (3, 2 + 2 * PROPOSED, 5)
    return trials.traced


def test_only_the_same_network_finds_its_rounds_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "train_quality", lambda quality, *_: quality)
    everything = 2 * 3  # rounds, pictures: what train has traced is there for val, whose pictures are the same here
    assert traced(tmp_path, network(0), grounds()) == everything
    assert traced(tmp_path, network(0), grounds()) == 0
    assert traced(tmp_path, network(1), grounds()) == everything
    assert traced(tmp_path, network(0), grounds(tolerance=0.4)) == everything
    assert traced(tmp_path, network(0), grounds(), steps=20) == everything
