"""How well the family draws what a prompt says, by a judge of real icons: R@1 among 100 pictures, and kernel distance.

Groups: icons that training has shown; colours of a concept that it has not; concepts in a style that it has not. The
sheet of sixty prompts (``corpus.prompts``) is drawn as well, nothing left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tokenizers import Tokenizer

from build_engines.mini import drawing
from build_engines.mini.colours import COLOURS
from build_engines.mini.corpus import holdout
from build_engines.mini.corpus.captions import CaptionWriter
from build_engines.mini.corpus.pictures import SIDE_PX, Corpus, Rgba
from build_engines.mini.corpus.prompts import DECOYS, PROMPTS
from build_engines.mini.judge import PictureEncoder
from build_engines.mini.loop import Loop, Stop
from build_engines.mini.pictures import Variant
from build_engines.mini.training.autoencoder import laid_on
from build_engines.mini.training.judges import CaptionJudge, PictureJudgeLearner, embed, fits, kernel_distance

CANDIDATES = 100
PER_GROUP = 120
Draw = Callable[[Sequence[str], Sequence[int]], Rgba]
"""Prompts and seeds to pictures (B, H, W, 4)."""


@dataclass(frozen=True)
class Case:
    """``candidates``: what the judge chooses from; the first is what ``caption`` names."""

    group: str
    caption: str
    candidates: tuple[Variant, ...]


class CaseMaker:
    """Makes the captions and their candidates, the same ones every time. Emoji only: they have several styles."""

    def __init__(self, corpus: Corpus, candidates: int = CANDIDATES) -> None:
        self.corpus, self.candidates = corpus, candidates
        self._writer = CaptionWriter(corpus.concepts)
        self._emoji = [i for i, e in enumerate(corpus.entries) if corpus.concepts[e.concept].emoji]
        self._of_concept: dict[str, list[int]] = {}
        for index in self._emoji:
            self._of_concept.setdefault(corpus.entries[index].concept, []).append(index)

    def all(self, per_group: int = PER_GROUP) -> list[Case]:
        rng = np.random.default_rng(0)
        entries = self.corpus.entries
        shown = [i for i in self._emoji if entries[i].trained]
        held = [i for i in self._emoji if not entries[i].trained]
        cases = [self._case("known", int(i), None) for i in rng.permutation(shown)[:per_group]]
        pairs = [(i, c) for i in shown for c in COLOURS if self._is_held(i, c)]
        cases += [self._case("new colour", *pairs[int(k)]) for k in rng.permutation(len(pairs))[:per_group]]
        return cases + [self._case("unseen style", int(i), None) for i in rng.permutation(held)[:per_group]]

    def _is_held(self, index: int, colour: str) -> bool:
        entry = self.corpus.entries[index]
        if entry.own_colour in (None, colour):
            return False
        names = frozenset(self.corpus.entries[i].name for i in self._of_concept[entry.concept])
        return holdout.held_colour(entry.concept, names, colour)

    def _case(self, group: str, index: int, colour: str | None) -> Case:
        """Beside the right picture: its other colours, the concept in other styles, then random icons."""
        entry = self.corpus.entries[index]
        first = [Variant(index, colour, False)]
        if colour is not None:
            first += [Variant(index, c, False) for c in (None, *COLOURS) if c not in (colour, entry.own_colour)]
        else:
            first += [Variant(i, None, False) for i in self._of_concept[entry.concept] if i != index]
        rng = np.random.default_rng((1, index))
        for other in rng.permutation(self._emoji):
            if len(first) >= self.candidates:
                break
            if self.corpus.entries[other].concept != entry.concept:
                able = colour is not None and self.corpus.entries[other].own_colour is not None and rng.random() < 0.7
                first.append(Variant(int(other), str(rng.choice(list(COLOURS))) if able else None, False))
        return Case(group, self._writer.plain(entry, colour), tuple(first[: self.candidates]))


def ranks(judge: PictureEncoder, corpus: Corpus, cases: Sequence[Case], drawn: Rgba) -> np.ndarray[Any, Any]:
    """For each case the number of candidates that are nearer to its drawing than the right one."""
    found = []
    for case, vector in zip(cases, embed(judge, drawn), strict=True):
        near = embed(judge, np.stack([corpus.draw(v) for v in case.candidates])) @ vector
        found.append(int((near[1:] >= near[0]).sum()))
    return np.asarray(found)


def evaluate(
    folder: Path,
    corpus: Corpus,
    draw: Draw,
    name: str,
    per_group: int = PER_GROUP,
    others: Mapping[str, Draw] | None = None,
) -> dict[str, Any]:
    """Draws, judges, prints the table; writes ``evaluation-NAME.json`` and ``prompts-NAME.png`` into ``folder``.

    ``others`` draw the same in other ways, by name, and are judged beside it; each has a sheet of its name."""
    judge = trained_judge(folder, corpus)
    cases = CaseMaker(corpus).all(per_group)
    captions, seeds = [c.caption for c in cases], range(len(cases))
    real = np.stack([corpus.draw(c.candidates[0]) for c in cases])
    groups = np.asarray([c.group for c in cases])
    ways = {"drawn": draw, **(others or {})}
    subjects = {way: ways[way](captions, seeds) for way in ways}
    table: dict[str, Any] = {}
    for subject, pictures in {**subjects, "real": real}.items():
        found = ranks(judge, corpus, cases, pictures)
        for group in dict.fromkeys(groups):
            of_group = found[groups == group]
            table[f"{subject}: {group}"] = {
                "captions": len(of_group), "R@1": float((of_group < 1).mean()), "R@5": float((of_group < 5).mean())
            }  # fmt: skip
    for subject, pictures in subjects.items():
        table[f"kernel distance: {subject}"] = kernel_distance(embed(judge, pictures), embed(judge, real))
    (folder / f"evaluation-{name}.json").write_text(json.dumps(table, indent=2) + "\n")
    print(json.dumps(table, indent=2))
    for way in ways:
        save_prompts(ways[way], folder / f"prompts-{name if way == 'drawn' else way}.png")
    return table


def best_of(draw: Draw, judge: CaptionJudge, tokenizer: Tokenizer, count: int = 4) -> Draw:
    """Draws ``count`` pictures for each prompt, and gives the one that fits it best by ``judge``."""

    def best(prompts: Sequence[str], seeds: Sequence[int]) -> Rgba:
        drawn = np.stack([draw(prompts, [seed + 1000 * k for seed in seeds]) for k in range(count)])
        chosen = np.stack([fits(judge, tokenizer, pictures, prompts) for pictures in drawn]).argmax(0)
        return np.asarray(drawn[chosen, np.arange(len(chosen))])

    return best


def enlarged(rgb: npt.NDArray[np.uint8]) -> Rgba:
    """Opaque pictures (B, H, W, 3) of any size as (B, 128, 128, 4)."""
    size = (SIDE_PX, SIDE_PX)
    resized = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.LANCZOS)) for one in rgb]
    return np.concatenate([np.stack(resized), np.full((len(rgb), *size, 1), 255, np.uint8)], -1)


def save_prompts(draw: Draw, path: Path) -> None:
    """The sheet of the sixty prompts, one seed each; and what a reader who does not know them gets: the same pictures
    numbered, ``-numbered.png``, and all prompts with sixty others, shuffled, ``-list.txt``."""
    made = list(laid_on(draw(PROMPTS, range(len(PROMPTS)))))
    Image.fromarray(drawing.sheet(made, PROMPTS, 10, scale=1)).save(path)
    numbers = [str(n + 1) for n in range(len(made))]
    Image.fromarray(drawing.sheet(made, numbers, 10, scale=1)).save(path.with_name(f"{path.stem}-numbered.png"))
    shuffled = np.random.default_rng(0).permutation([*PROMPTS, *DECOYS])
    path.with_name(f"{path.stem}-list.txt").write_text("".join(f"{prompt}\n" for prompt in shuffled))


def trained_judge(folder: Path, corpus: Corpus) -> PictureEncoder:
    """Trained once into ``judge.pt`` of ``folder``; Ctrl-C and the same command goes on."""
    learner, stop = PictureJudgeLearner(corpus), Stop()
    with stop.on_signals():
        done = Loop(folder / "judge.pt", learner.steps, 120.0, stop).run(learner)
    if not done:
        raise KeyboardInterrupt
    learner.model.eval()
    return learner.model
