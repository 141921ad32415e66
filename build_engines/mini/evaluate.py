"""How well the family draws what it is asked: can a judge of real icons find the right one by the drawing?

Each drawing is compared with 100 real pictures of which one is what the caption names; R@k is the share of captions
whose real picture is among the k nearest. Chance is k / 100. The captions are 200 of the training's, and the 60
recombinations that training has never shown (``build_engines.mini.holdout``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from build_engines.mini import autoencoder, checkpoint, drawing, engines, pictures
from build_engines.mini.captions import caption
from build_engines.mini.colours import COLOURS
from build_engines.mini.holdout import COLOURED, RESTYLED
from build_engines.mini.judge import STEPS, JudgeLearner, PictureEncoder, embed
from build_engines.mini.loop import Loop, Stop
from build_engines.mini.pictures import Pictures, Rgb, Variant

CANDIDATES = 100
KNOWN = 200
FEW_STEPS = (8, 4)
Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """``candidates``: what the judge chooses from; the first is what ``caption`` names."""

    group: str
    caption: str
    candidates: tuple[Variant, ...]

    @property
    def target(self) -> Variant:
        return self.candidates[0]


class CaseMaker:
    """Makes the captions and their candidates, the same ones every time."""

    def __init__(self, known: Pictures, candidates: int = CANDIDATES) -> None:
        self.entries = known.entries
        self.index = {(e.name, e.set): i for i, e in enumerate(known.entries)}
        self.candidates = candidates
        self._coloured = [i for i, e in enumerate(known.entries) if e.own_colour is not None]

    def all(self, known: int = KNOWN) -> list[Case]:
        trained = [i for i, e in enumerate(self.entries) if e.trained]
        order = np.random.default_rng(0).permutation(trained)[:known]
        cases = [self._plain("known", int(i), ()) for i in order]
        sets = ("noto", "fluent-emoji-flat")
        for place, (name, colour) in enumerate(COLOURED):
            if (index := self.index.get((name, sets[place % 2]))) is not None:
                cases.append(self._recoloured(index, colour))
        for name, held in RESTYLED:
            if (index := self.index.get((name, held))) is not None:
                other = self.index.get((name, sets[sets.index(held) - 1]))
                cases.append(self._plain("unseen style", index, () if other is None else (other,)))
        return cases

    def _plain(self, group: str, index: int, beside: Sequence[int]) -> Case:
        """A case without a colour; ``beside`` are icons that must be among the candidates."""
        entry = self.entries[index]
        first = [Variant(i, None, False) for i in (index, *beside)]
        return Case(group, caption(entry.name, entry.style), self._filled(first, index, coloured=False))

    def _recoloured(self, index: int, colour: str) -> Case:
        """The icon in a colour; its other colours and the original are among the candidates."""
        entry = self.entries[index]
        others = [c for c in COLOURS if c not in (colour, entry.own_colour)]
        first = [Variant(index, c, False) for c in (colour, None, *others)]
        return Case("unseen colour", caption(entry.name, entry.style, colour), self._filled(first, index, True))

    def _filled(self, first: list[Variant], index: int, coloured: bool) -> tuple[Variant, ...]:
        """``first`` and random icons of other names, half of them in a random colour when ``coloured``."""
        rng = np.random.default_rng((1, index))
        name, found = self.entries[index].name, list(first)
        for other in rng.permutation(len(self.entries)):
            if len(found) == self.candidates:
                break
            if self.entries[other].name != name:
                able = coloured and self.entries[other].own_colour is not None and rng.random() < 0.7
                found.append(Variant(int(other), str(rng.choice(list(COLOURS))) if able else None, False))
        return tuple(found)


def ranks(judge: PictureEncoder, known: Pictures, cases: Sequence[Case], drawn: Rgb) -> Ranks:
    """For each case the number of candidates that are nearer to its drawing (N, 64, 64, 3) than the right one."""
    found = []
    for case, vector in zip(cases, embed(judge, drawn), strict=True):
        near = embed(judge, np.stack([known.draw(v) for v in case.candidates])) @ vector
        found.append(int((near[1:] >= near[0]).sum()))
    return np.asarray(found, np.int64)


def recall(found: Ranks, k: int) -> float:
    """R@k: the share of ranks under ``k``."""
    return float((found < k).mean())


def trained_judge(folder: Path, known: Pictures, steps: int) -> PictureEncoder:
    """Trained once into ``judge.pt`` of ``folder``; Ctrl-C and the same command goes on."""
    learner, stop = JudgeLearner(known, steps), Stop()
    with stop.on_signals():
        done = Loop(folder / "judge.pt", learner.steps, 120.0, stop).run(learner)
    if not done:
        raise KeyboardInterrupt
    learner.model.eval()
    return learner.model


def evaluate(
    folder: Path, checkpoint_folder: Path, judge_steps: int = STEPS, repository: Path | None = None
) -> dict[str, dict[str, float]]:
    """Draws, judges, prints the table, and writes ``evaluation.json`` and two contact sheets into ``folder``.

    The checkpoint draws in torch; the engines in ``repository``, when it has the family, draw too.
    """
    painter = checkpoint.load(checkpoint_folder)
    known = pictures.load(folder)
    judge = trained_judge(folder, known, judge_steps)
    cases = CaseMaker(known).all()
    captions, seeds = [c.caption for c in cases], range(len(cases))
    drawn = drawing.draw_all(painter, captions, seeds)
    real = np.stack([known.draw(c.target) for c in cases])
    noise = np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    subjects = {"drawn": drawn}
    subjects |= {f"drawn in {n} steps": drawing.draw_all(painter, captions, seeds, steps=n) for n in FEW_STEPS}
    if repository is not None and engines.are_there(repository):
        subjects["drawn by the engines"] = engines.draw_all(repository, captions, seeds)
    reconstructed = autoencoder.reconstruct(painter.autoencoder, real)
    subjects |= {"real, through the autoencoder": reconstructed, "real": real, "noise": noise}
    table = _table(cases, {name: ranks(judge, known, cases, made) for name, made in subjects.items()})
    _print(table)
    (folder / "evaluation.json").write_text(json.dumps(table, indent=2) + "\n")
    checkpoint.add_metrics(checkpoint_folder, {name: row for name, row in table.items() if name.startswith("drawn")})
    for group in ("known", "unseen"):
        kept = [i for i, c in enumerate(cases) if c.group.startswith(group)]
        made = drawing.sheet([drawn[i] for i in kept], [cases[i].caption for i in kept], columns=10)
        Image.fromarray(made).save(folder / f"{group}.webp", quality=80, method=6)
    return table


def _table(cases: Sequence[Case], found: dict[str, Ranks]) -> dict[str, dict[str, float]]:
    """One row for each subject and group of captions, and one for all unseen captions together."""
    groups = np.asarray([c.group for c in cases])
    wanted = {"known": groups == "known", "unseen": groups != "known"}
    wanted |= {name: groups == name for name in ("unseen colour", "unseen style")}
    return {
        f"{subject}: {name}": {"captions": int(mask.sum()), "R@1": recall(r[mask], 1), "R@5": recall(r[mask], 5)}
        for subject, r in found.items()
        for name, mask in wanted.items()
        if mask.any()
    }


def _print(table: dict[str, dict[str, float]]) -> None:
    print(f"\n{'among 100 real pictures':46} captions    R@1    R@5")
    for name, row in table.items():
        print(f"{name:46} {row['captions']:8.0f} {row['R@1']:6.2f} {row['R@5']:6.2f}")
