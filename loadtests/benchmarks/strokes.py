"""Strokes found in pictures that were drawn with them: ``python -m loadtests.benchmarks.strokes``.

Forty pictures of strokes and twelve of areas (`loadtests.vectorize.stroke_pictures`), traced by the rules without a
model. *Recall* is the share of the source's strokes that the SVG has, *precision* the share of the SVG's strokes that
the source has; in brackets SSIM and bytes of the same trace without whole shapes and strokes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from loadtests.benchmarks.structure import CONDITIONS, degraded
from loadtests.vectorize.stroke_pictures import SIDE, Picture, counted, pictures
from serve.ensembles.vectorizer.candidates import fixed_parameters
from serve.vector.compare import Reference, render
from serve.vector.features import extract
from serve.vector.parameters import CoverageParameters
from serve.vector.trace import trace


@dataclass(frozen=True)
class Row:
    """``counts`` as of `counted`; SSIM and bytes, with strokes and without."""

    picture: Picture
    counts: tuple[int, int, int, int]
    ssim: tuple[float, float]
    bytes: tuple[int, int]
    traced: str


def measured(picture: Picture, condition: str) -> Row:
    clean = render(picture.svg, SIDE, SIDE)
    given, reference = degraded(clean, condition), Reference(clean)
    parameters = fixed_parameters(extract(given))
    assert isinstance(parameters, CoverageParameters)
    svgs = [trace(given, one) for one in (parameters, replace(parameters, shapes=0))]
    likeness = [reference.fidelity(svg).ssim for svg in svgs]
    return Row(picture, counted(picture.svg, svgs[0]), (likeness[0], likeness[1]),
               (len(svgs[0]), len(svgs[1])), svgs[0])  # fmt: skip


def line(condition: str, rows: list[Row]) -> str:
    wanted, found, made, right = np.sum([row.counts for row in rows], axis=0)
    likeness, size = np.mean([row.ssim for row in rows], axis=0), np.sum([row.bytes for row in rows], axis=0)
    worst = max(row.ssim[1] - row.ssim[0] for row in rows)
    return (
        f"| {condition} | {wanted} | {found / wanted:.3f} | {made} | {right / max(1, made):.3f} "
        f"| {likeness[0]:.4f} ({likeness[1]:.4f}) | {worst:.4f} | {size[0]} ({size[1]}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conditions", default="clean", help=f"comma-separated, of: {', '.join(CONDITIONS)}")
    parser.add_argument("--only", default="", help="pictures by name, comma-separated")
    parser.add_argument("--save", type=Path, help="a folder for the traced SVGs; prints a line a picture too")
    arguments = parser.parse_args()
    conditions = arguments.conditions.split(",")
    if unknown := {*conditions} - {*CONDITIONS}:
        parser.error(f"no condition {', '.join(sorted(unknown))}; there are {', '.join(CONDITIONS)}")
    only = [name for name in arguments.only.split(",") if name]
    chosen = [picture for picture in pictures() if not only or picture.name in only]
    lines = [
        "| condition | strokes | recall | strokes traced | precision | SSIM | most SSIM lost | bytes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for condition in conditions:
        rows = [measured(picture, condition) for picture in chosen]
        lines.append(line(condition, rows))
        if arguments.save is not None:
            arguments.save.mkdir(parents=True, exist_ok=True)
            for row in rows:
                (arguments.save / f"{row.picture.name}-{condition.replace(' ', '-')}.svg").write_text(row.traced)
                print(f"{row.picture.name:16} {condition:14} strokes {row.counts}  "
                      f"SSIM {row.ssim[0]:.4f} {row.ssim[1]:.4f}  bytes {row.bytes}")  # fmt: skip
    print("\n".join(lines))


if __name__ == "__main__":
    main()
