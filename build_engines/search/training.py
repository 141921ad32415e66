"""Trains the two encoders on pictures and their captions, and measures how well a caption finds its picture.

The networks and their loss are those of `CaptionJudge` (CLIP: Radford et al., 2021), on pictures of 64x64 pixels and a
vocabulary that is cut to its commonest words. Icons that `Entry.trained` leaves out are never seen: they are the test.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import typer

from build_engines.mini.autoencoder import to_tensor
from build_engines.mini.colours import dominant
from build_engines.mini.corpus import pictures, vectors
from build_engines.mini.corpus.captions import CaptionWriter
from build_engines.mini.corpus.pictures import Corpus, Rgba, opaque_rgb
from build_engines.mini.corpus.vectors import Vocabulary
from build_engines.mini.tokenizer import encode, make_tokenizer
from build_engines.mini.training.judges import SIDE_PX, CaptionJudge, CaptionJudgeLearner, seen, shipped_judge
from build_engines.mini.training.text import TOKENS

MAX_WORDS = 12_000
AMONG = 100
_ROUNDS = 20
_MEASURED_STEPS = 10
_REPORT_S = 30.0


@dataclass(frozen=True)
class Report:
    """Shares of captions of icons that were never seen whose picture is the first, or of the first five, of ``among``
    pictures of different concepts; chance is 1 / ``among``."""

    first: float
    of_five: float
    median_rank: float
    among: int
    pictures: int
    steps: int


def read_vocabulary(folder: Path) -> Vocabulary:
    """The words of captions and the commonest others: MAX_WORDS in all."""
    whole = vectors.read(folder)
    kept = max(MAX_WORDS, whole.captioned)
    return replace(whole, words=whole.words[:kept], vectors=whole.vectors[:kept])


def read_corpus(folder: Path) -> Corpus:
    """The pictures at 64x64, in memory; those that cannot be recoloured at that size are not. Raises
    FileNotFoundError."""
    whole = pictures.load(folder)
    small = np.stack([_shrunk(np.asarray(picture)) for picture in whole.pixels])
    entries = tuple(
        replace(entry, own_colour=None) if entry.own_colour and not _recolours(picture) else entry
        for entry, picture in zip(whole.entries, small, strict=True)
    )
    return replace(whole, pixels=small, entries=entries)


def _shrunk(rgba: Rgba) -> Rgba:
    """At 64x64 pixels; colours are averaged by their cover."""
    alpha = rgba[..., 3:].astype(np.float32)
    mean = cv2.resize(np.dstack([rgba[..., :3] * alpha, alpha]), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    colours = mean[..., :3] / np.maximum(mean[..., 3:], 1e-3)
    return (np.dstack([colours, mean[..., 3:]]) + 0.5).clip(0, 255).astype(np.uint8)


def _recolours(rgba: Rgba) -> bool:
    found = dominant(opaque_rgb(rgba))
    return found is not None and found.clear


def train(corpus: Corpus, vocabulary: Vocabulary, minutes: float, threads: int) -> tuple[CaptionJudge, int]:
    """The networks as they are served, after ``minutes`` of processor time, and the steps that these were."""
    torch.set_num_threads(threads)
    learner = CaptionJudgeLearner(corpus, vocabulary, steps=2**30)
    learner.model.train()
    began = reported = time.process_time()
    losses: list[float] = []
    while not losses or len(losses) < learner.steps:
        losses.append(float(learner.step(len(losses))))
        now = time.process_time()
        if len(losses) == _MEASURED_STEPS:  # the rate falls to zero at the last step, so their number has to be known
            learner.steps = max(_MEASURED_STEPS, int(60 * minutes * _MEASURED_STEPS / (now - began)))
        if now - reported >= _REPORT_S:
            reported = now
            mean = float(np.mean(losses[-50:]))
            typer.echo(f"step {len(losses)} of {learner.steps}, {(now - began) / 60:.1f} minutes: loss {mean:.3f}")
    return shipped_judge(learner.model), len(losses)


@torch.no_grad()
def embedded(
    network: CaptionJudge, vocabulary: Vocabulary, corpus: Corpus, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Unit vectors (len(rows), 128) of the pictures, and of the captions that name their concept and style."""
    writer = CaptionWriter(corpus.concepts)
    captions = [writer.plain(corpus.entries[int(row)]) for row in rows]
    ids = torch.from_numpy(encode(make_tokenizer(vocabulary.words), captions, TOKENS))
    images = to_tensor(seen(corpus.pixels[rows]))
    return network.pictures(images).numpy(), network.captions(ids).numpy()


def evaluate(network: CaptionJudge, vocabulary: Vocabulary, corpus: Corpus, steps: int) -> Report:
    """Of icons that training never sees."""
    entries = corpus.entries
    rows = np.asarray([i for i, e in enumerate(entries) if not e.trained and corpus.concepts[e.concept].emoji])
    images, texts = embedded(network, vocabulary, corpus, rows)
    alike = texts @ images.T
    rng, ranks = np.random.default_rng(0), []
    for _ in range(_ROUNDS):
        order = rng.permutation(len(rows))
        _, first = np.unique([entries[int(rows[i])].concept for i in order], return_index=True)
        chosen = order[np.sort(first)][:AMONG]
        block = alike[np.ix_(chosen, chosen)]
        ranks.append((block > np.diag(block)[:, None]).sum(1) + 1)
    found = np.concatenate(ranks)
    return Report(
        first=round(float((found == 1).mean()), 3),
        of_five=round(float((found <= 5).mean()), 3),
        median_rank=float(np.median(found)),
        among=len(ranks[0]),
        pictures=len(rows),
        steps=steps,
    )
