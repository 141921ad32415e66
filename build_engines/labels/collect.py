"""Runs the tracers over many pictures in several processes: parallel, cached, resumable, with a progress bar."""

from __future__ import annotations

import multiprocessing
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from build_engines.data import Icon, draw
from build_engines.labels.candidates import candidates
from build_engines.labels.measure import Judge
from build_engines.labels.store import Labels, LabelStore
from serve.vector.parameters import to_candidate


@dataclass(frozen=True)
class Drawn:
    """One picture for training, named by its icon and the seed it is drawn with (see `build_engines.data.draw`)."""

    icon: Icon
    seed: int

    @property
    def name(self) -> str:
        return f"{self.icon.set}/{self.icon.name}/{self.seed}"


@dataclass(frozen=True)
class _Job:
    picture: Drawn
    count: int
    store: LabelStore


def label(picture: Drawn, count: int) -> Labels:
    """``count`` candidates of one picture, each traced and measured."""
    judge = Judge(draw(picture.icon, picture.seed))
    tried = candidates(count, seed=zlib.crc32(picture.name.encode()))
    return Labels(
        np.stack([to_candidate(p) for p in tried]),
        np.stack([judge.measure(p).to_row() for p in tried]),
    )


def _run(job: _Job) -> None:
    job.store.write(job.picture.name, label(job.picture, job.count))


def start_worker() -> None:
    """A worker keeps to one core, and compiles the tracer before its first measurement."""
    cv2.setNumThreads(1)
    from serve.vector.coverage.tracer import warm

    warm()


def collect(pictures: Sequence[Drawn], count: int, store: LabelStore, processes: int) -> None:
    """Labels every picture that ``store`` lacks. Raises what a trace raises: a label that fails is a tracer's bug."""
    jobs = [_Job(picture, count, store) for picture in pictures if picture.name not in store]
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, start_worker) as pool, tqdm(total=len(pictures), desc="labels", unit="picture") as bar:
        bar.update(len(pictures) - len(jobs))
        for _ in pool.imap_unordered(_run, jobs, chunksize=4):
            bar.update()
