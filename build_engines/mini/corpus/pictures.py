"""The icons as RGBA pictures of 128x128 pixels in a memory-mapped array, with what each shows.

Alpha is straight in the array, as recolouring needs it; the networks see it premultiplied (``to_tensor`` of
``build_engines.mini.training.autoencoder``).
"""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from build_engines.data.icons import Icon, icons_of
from build_engines.data.packages import read_json
from build_engines.mini.captions import colourable, flippable
from build_engines.mini.colours import COLOURS, dominant, recolour
from build_engines.mini.corpus import holdout
from build_engines.mini.corpus.concepts import Concept, Labelled, find_concepts
from build_engines.mini.corpus.sets import SETS, CorpusSet
from build_engines.mini.pictures import Variant
from serve.vector import compare

Rgba = npt.NDArray[np.uint8]

SIDE_PX = 128
_MIRRORED_SHARE = 0.15
"""Of recoloured pictures."""
_LEAST_COVER = 0.02
"""Least mean alpha of a picture that shows anything."""


@dataclass(frozen=True)
class Entry:
    """One icon; ``own_colour`` is its clear dominant colour, None where it has none or none may be said of it."""

    set: str
    name: str
    concept: str
    solid: bool
    own_colour: str | None

    @property
    def trained(self) -> bool:
        return not holdout.held_icon(self.concept, self.set, self.name)

    @property
    def validates(self) -> bool:
        return holdout.validates(self.set, self.name)


@dataclass(frozen=True)
class Corpus:
    """``pixels``: (N, 128, 128, 4), straight alpha; ``entries``: what each shows; ``concepts`` by key."""

    pixels: Rgba
    entries: tuple[Entry, ...]
    concepts: dict[str, Concept]

    def draw(self, variant: Variant) -> Rgba:
        """The picture of one variant, (128, 128, 4)."""
        picture = np.asarray(self.pixels[variant.index])
        if variant.colour is not None:
            picture = recolour_rgba(picture, variant.colour)
        return np.ascontiguousarray(picture[:, ::-1] if variant.flip else picture)

    def flippable(self, index: int) -> bool:
        """Whether the mirrored picture is still what its captions say."""
        entry = self.entries[index]
        return flippable(entry.name) and flippable(self.concepts[entry.concept].label)


def opaque_rgb(rgba: Rgba) -> Rgba:
    """The colours (H, W, 3) with white where nothing is drawn; partly covered pixels keep their pure colour."""
    return np.where(rgba[..., 3:] == 0, np.uint8(255), rgba[..., :3])


def recolour_rgba(rgba: Rgba, word: str) -> Rgba:
    """``recolour`` of a picture with alpha. Raises ValueError for one without a clear dominant colour."""
    return np.dstack([recolour(opaque_rgb(rgba), word), rgba[..., 3]])


def rasterise(icon: Icon, side_px: int = SIDE_PX) -> Rgba:
    """The icon on a transparent ground, shape (side_px, side_px, 4), centred where it is not square."""
    longer = max(icon.view_box[2:])
    width, height = (max(1, round(side_px * side / longer)) for side in icon.view_box[2:])
    canvas = np.zeros((side_px, side_px, 4), np.uint8)
    top, left = (side_px - height) // 2, (side_px - width) // 2
    canvas[top : top + height, left : left + width] = compare.render(icon.svg(), width, height)
    return canvas


def read_icons(folder: Path, icon_set: CorpusSet) -> dict[str, Icon]:
    """The icons of an installed package that a renderer without style sheets draws rightly. Animations stand still."""
    icons = icons_of(icon_set.name, read_json(folder, icon_set.package, "icons.json"))
    still = (Icon(i.set, i.name, re.sub(r"<animate[^>]*/>", "", i.body), i.view_box) for i in icons)
    return {icon.name: icon for icon in still}


def _drawn(task: tuple[Icon, Labelled]) -> tuple[Rgba, Entry] | None:
    icon, labelled = task
    picture = rasterise(icon)
    if picture[..., 3].mean() < 255 * _LEAST_COVER:
        return None
    emoji = not labelled.concept.startswith("name:")
    dominated = dominant(opaque_rgb(picture)) if emoji and colourable(icon.name) else None
    word = dominated.word if dominated is not None and dominated.clear else None
    return picture, Entry(labelled.set, labelled.name, labelled.concept, labelled.solid, word)


def make(sources: Path, folder: Path, processes: int = 1) -> None:
    """Renders all icons of ``sources`` into ``pictures.npy`` and ``pictures.json`` of ``folder``."""
    icons = {s.name: read_icons(sources, s) for s in SETS}
    found = find_concepts(sources, {name: sorted(of_set) for name, of_set in icons.items()}, SETS)
    tasks = [(icons[labelled.set][labelled.name], labelled) for labelled in found.icons]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        drawn = [d for d in pool.imap(_drawn, tasks, chunksize=64) if d is not None]
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(drawn), SIDE_PX, SIDE_PX, 4)
    pixels = np.lib.format.open_memmap(folder / "pictures.npy", "w+", np.uint8, shape)  # type: ignore[no-untyped-call]
    for row, (picture, _) in zip(pixels, drawn, strict=True):
        row[:] = picture
    pixels.flush()
    used = {entry.concept for _, entry in drawn}
    facts = {
        "entries": [asdict(entry) for _, entry in drawn],
        "concepts": {key: asdict(c) for key, c in found.concepts.items() if key in used},
    }
    (folder / "pictures.json").write_text(json.dumps(facts))


def load(folder: Path) -> Corpus:
    """What ``make`` has written. Raises FileNotFoundError before that."""
    facts: dict[str, Any] = json.loads((folder / "pictures.json").read_text())
    concepts = {
        key: Concept(c["label"], tuple(c["names"]), tuple(c["tags"]), tuple(c["kinds"]), c["emoji"])
        for key, c in facts["concepts"].items()
    }
    return Corpus(
        np.load(folder / "pictures.npy", mmap_mode="r"), tuple(Entry(**e) for e in facts["entries"]), concepts
    )


_WORKER: list[Corpus] = []


def _begin(folder: Path) -> None:
    _WORKER[:] = [load(folder)]


def _pictured(variant: Variant) -> Rgba:
    return _WORKER[0].draw(variant)


def draw_all(
    corpus: Corpus, folder: Path, variants: Sequence[Variant], processes: int = 1
) -> Generator[Rgba, None, None]:
    """The picture of each variant, in order. Several processes read the corpus that is in ``folder``."""
    if processes == 1:
        yield from map(corpus.draw, variants)
        return
    with multiprocessing.get_context("spawn").Pool(processes, _begin, (folder,)) as pool:
        yield from pool.imap(_pictured, variants, chunksize=32)


def plain_variants(corpus: Corpus) -> list[Variant]:
    """The icons that the denoiser may see, as they are."""
    return [Variant(index, None, False) for index, entry in enumerate(corpus.entries) if entry.trained]


def more_variants(corpus: Corpus, colours_each: int = 3, seed: int = 0) -> list[Variant]:
    """What else the denoiser may see: an emoji's mirror image where that is right, and some of its colours."""
    names: dict[str, set[str]] = {}
    for entry in corpus.entries:
        names.setdefault(entry.concept, set()).add(entry.name)
    found = []
    for index, entry in enumerate(corpus.entries):
        if not entry.trained:
            continue
        mirrors = corpus.concepts[entry.concept].emoji and corpus.flippable(index)
        found += [Variant(index, None, True)] if mirrors else []
        if entry.own_colour is not None:
            rng = np.random.default_rng((seed, index))
            held = frozenset(names[entry.concept])
            able = [c for c in COLOURS if c != entry.own_colour and not holdout.held_colour(entry.concept, held, c)]
            chosen = rng.permutation(able)[:colours_each]
            found += [Variant(index, str(c), bool(mirrors and rng.random() < _MIRRORED_SHARE)) for c in chosen]
    return [v for v in found if v.colour is None or _has_colour(corpus.draw(v), v.colour)]


def _has_colour(picture: Rgba, colour: str) -> bool:
    """Whether recolouring really gave the named colour (it fails for a few pictures of several colours)."""
    dominated = dominant(opaque_rgb(picture))
    return dominated is not None and dominated.clear and dominated.word == colour


def unseen(corpus: Corpus) -> Rgba:
    """The pictures that the autoencoder is measured on."""
    rows: Sequence[int] = [i for i, e in enumerate(corpus.entries) if e.validates]
    return np.asarray(corpus.pixels[rows])
