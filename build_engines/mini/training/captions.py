"""The captions of training, written before it begins: some for each picture, as token ids."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from build_engines.mini.corpus import pictures
from build_engines.mini.corpus.captions import CURATED, CaptionWriter
from build_engines.mini.corpus.pictures import Corpus
from build_engines.mini.pictures import Variant
from build_engines.mini.tokenizer import encode
from build_engines.mini.training.presets import DenoiserPreset
from build_engines.mini.training.text import TOKENS

Ids = npt.NDArray[np.int32]
_CHUNK = 512
_WORKER: list[_Task] = []


class _Task:
    """Writes the captions of a chunk of rows."""

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, preset: DenoiserPreset, seed: int) -> None:
        self.corpus, self.tokenizer, self.preset, self.seed = corpus, tokenizer, preset, seed
        self.writers = CaptionWriter(corpus.concepts), CaptionWriter(corpus.concepts, CURATED)

    def __call__(self, numbered: tuple[int, Sequence[Variant]]) -> Ids:
        """Token ids (rows, captions, 16); the chance is that of the chunk's number."""
        number, variants = numbered
        rng = np.random.default_rng((self.seed, 5, number))
        written = []
        for variant in variants:
            entry = self.corpus.entries[variant.index]
            for plain in rng.random(self.preset.captions) < self.preset.curated:
                written.append(self.writers[int(plain)].write(rng, entry, variant.colour))
        return encode(self.tokenizer, written, TOKENS).astype(np.int32).reshape(len(variants), -1, TOKENS)


def _begin(folder: Path, tokenizer: str, preset: DenoiserPreset, seed: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _WORKER[:] = [_Task(pictures.load(folder), Tokenizer.from_str(tokenizer), preset, seed)]


def _written(numbered: tuple[int, Sequence[Variant]]) -> Ids:
    return _WORKER[0](numbered)


def _chunks(variants: Sequence[Variant]) -> Iterator[tuple[int, Sequence[Variant]]]:
    return ((start // _CHUNK, variants[start : start + _CHUNK]) for start in range(0, len(variants), _CHUNK))


def write_all(
    corpus: Corpus,
    variants: Sequence[Variant],
    tokenizer: Tokenizer,
    preset: DenoiserPreset,
    seed: int = 0,
    folder: Path | None = None,
    processes: int = 1,
) -> Ids:
    """Token ids (rows, captions, 16) of ``variants``. Several processes need the ``folder`` that the corpus is in."""
    if processes == 1 or folder is None:
        return np.concatenate(list(map(_Task(corpus, tokenizer, preset, seed), _chunks(variants))))
    start = (folder, tokenizer.to_str(), preset, seed)
    with multiprocessing.get_context("spawn").Pool(processes, _begin, start) as pool:
        return np.concatenate(list(pool.imap(_written, _chunks(variants))))


def kept(
    folder: Path,
    corpus: Corpus,
    variants: Sequence[Variant],
    tokenizer: Tokenizer,
    preset: DenoiserPreset,
    seed: int = 0,
    processes: int = 1,
) -> Ids:
    """``write_all``, or what it once wrote into a file of ``folder`` for the same rows, words and preset."""
    texts = sorted((key, repr(concept)) for key, concept in corpus.concepts.items())
    facts = repr((variants, corpus.entries, texts, tokenizer.to_str(), preset.captions, preset.curated, seed))
    path = folder / f"captions-{hashlib.sha256(facts.encode()).hexdigest()[:12]}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return np.asarray(stored["ids"], np.int32)
    written = write_all(corpus, variants, tokenizer, preset, seed, folder, processes)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, ids=written)
    os.replace(partial, path)
    return written
