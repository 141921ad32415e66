"""A corpus of a few shapes with alpha, and networks small enough to train in seconds."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from mini_icons import SHAPES

from build_engines.data.icons import Icon
from build_engines.mini.corpus import holdout
from build_engines.mini.corpus.captions import caption_words
from build_engines.mini.corpus.concepts import Concept
from build_engines.mini.corpus.pictures import Corpus, Entry, rasterise
from build_engines.mini.corpus.vectors import DIMENSIONS, Vocabulary
from build_engines.mini.training.presets import AutoencoderPreset, DenoiserPreset, TrainingPreset

COLOURS = {"apple": "red", "lemon": "yellow", "kite": "blue", "tree": "green"}


def corpus() -> Corpus:
    """Each shape in two styles, without a ground; the last icon is one that the autoencoder is measured on."""
    entries, pixels = [], []
    for icon_set, scale in (("noto", 1.0), ("twemoji", 0.7)):
        for name, body in SHAPES.items():
            scaled = f'<g transform="scale({scale})">{body}</g>'
            pixels.append(rasterise(Icon(icon_set, name, scaled, (0, 0, 64, 64))))
            entries.append(Entry(icon_set, name, name, False, COLOURS.get(name)))
    unseen = next(f"penguin-{n}" for n in itertools.count() if holdout.validates("twemoji", f"penguin-{n}"))
    entries[-1] = replace(entries[-1], name=unseen)
    concepts = {n: Concept(n.replace("-", " "), tags=("thing", "small"), kinds=("shape",)) for n in SHAPES}
    return Corpus(np.stack(pixels), tuple(entries), concepts)


def vocabulary(known: Corpus) -> Vocabulary:
    """The captions' words and two more, with random vectors."""
    captioned = caption_words(list(known.concepts.values()))
    words = (*captioned, "kitten", "automobile")
    vectors = np.random.default_rng(0).standard_normal((len(words), DIMENSIONS)).astype(np.float32)
    return Vocabulary(words, len(captioned), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


_DENOISER = DenoiserPreset(
    widths=(32, 32),
    heads=(2, 2),
    layers=2,
    components=64,
    blocks=1,
    text_width=32,
    text_layers=1,
    text_heads=2,
    batch=4,
    samples=16,
    warm_up_steps=10,
    captions=8,
)
TINY_RGBA = TrainingPreset(
    "tiny",
    AutoencoderPreset(
        channels=4, widths=(8, 8, 16), last_width=8, blocks=(0, 0, 1), decoder_blocks=(1, 0, 0, 0), batch=4, samples=16
    ),
    _DENOISER,
    replace(_DENOISER, samples=8, clean=True, curated=1.0),
    replace(_DENOISER, samples=8, clean=True, curated=1.0, trajectories=6),
)
