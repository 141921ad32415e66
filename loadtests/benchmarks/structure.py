"""Structure of traced drawings: ``python -m loadtests.benchmarks.structure [--method rules|tier1|tier2|tier3]``.

Pictures with known sources, rendered at 256 px and given clean and as JPEGs. Prints, by condition: the share of the
source's circles, ellipses, rectangles and strokes that the SVG has as such (recall), the share of the SVG's that the
source has (precision), nodes and bytes over those of the source, nodes over those of the clean picture's SVG, and SSIM
to the clean picture. ``--icons`` adds icons of the test split, of which nodes, bytes and SSIM are counted.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from loadtests.vectorize.dataset import held_out, prepare
from loadtests.vectorize.ensemble import Running
from loadtests.vectorize.scenes import SIDE, Primitive, matched, primitives, scenes
from serve.ensembles.vectorizer.candidates import fixed_parameters
from serve.ensembles.vectorizer.vectorization import VectorizeOptions
from serve.vector.compare import Reference, composite, render
from serve.vector.features import extract
from serve.vector.svg import statistics
from serve.vector.trace import trace

Rgba = npt.NDArray[np.uint8]
Tracer = Callable[[Rgba], str]
SAMPLINGS = {"4:4:4": 0, "4:2:0": 2}
CONDITIONS = ("clean", *(f"JPEG {quality} {sampling}" for quality in (90, 75, 60) for sampling in SAMPLINGS))


@dataclass
class Row:
    """Sums over the pictures of one condition."""

    source: int = 0
    traced: int = 0
    matched: int = 0
    nodes: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)
    nodes_over_clean: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)


def degraded(clean: Rgba, condition: str) -> Rgba:
    if condition == "clean":
        return clean
    _, quality, sampling = condition.split()
    buffer = io.BytesIO()
    rgb = Image.fromarray(np.ascontiguousarray(composite(clean)))
    rgb.save(buffer, "JPEG", quality=int(quality), subsampling=SAMPLINGS[sampling])
    return np.array(Image.open(buffer).convert("RGBA"))


def by_rules(rgba: Rgba) -> str:
    return trace(rgba, fixed_parameters(extract(rgba)))


def by_tier(tier: int) -> Tracer:
    def convert(rgba: Rgba) -> str:
        buffer = io.BytesIO()
        Image.fromarray(rgba).save(buffer, "PNG", compress_level=1)
        return Running.vectorize(buffer.getvalue(), VectorizeOptions(tier=tier)).svg  # type: ignore[arg-type]

    return convert


def measure(
    tracer: Tracer,
    pictures: Sequence[tuple[str, str, Rgba, Sequence[Primitive] | None]],
    conditions: Sequence[str],
    folder: Path | None,
) -> dict[str, Row]:
    """By condition. A picture: its name, the source's text, the clean rendering, and the source's primitives."""
    rows = {condition: Row() for condition in conditions}
    for name, svg, clean, source in pictures:
        goal, wanted, nodes_of_clean = Reference(clean), statistics(svg), 0
        for condition, row in rows.items():
            traced = tracer(degraded(clean, condition))
            counted = statistics(traced)
            nodes_of_clean = nodes_of_clean or counted.nodes
            if source is not None:
                found = primitives(traced)
                row.source, row.traced = row.source + len(source), row.traced + len(found)
                row.matched += matched(source, found)
            row.nodes.append(counted.nodes / wanted.nodes)
            row.bytes.append(counted.bytes / wanted.bytes)
            row.nodes_over_clean.append(counted.nodes / nodes_of_clean)
            row.errors.append(1 - goal.fidelity(traced).ssim)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{name.replace(':', '_')}-{condition.replace(' ', '-').replace(':', '')}.svg").write_text(
                    traced
                )
                print(f"{name:24} {condition:14} nodes {counted.nodes:4d} / {wanted.nodes:4d}  bytes {counted.bytes:5d}"
                      f"  SSIM {1 - row.errors[-1]:.4f}")  # fmt: skip
    return rows


def table(rows: dict[str, Row]) -> str:
    lines = [
        "| condition | recall | precision | nodes / source's | bytes / source's | nodes / clean's | SSIM |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for condition, row in rows.items():
        recall = f"{row.matched / row.source:.2f}" if row.source else "–"
        precision = f"{row.matched / row.traced:.2f}" if row.traced else "–"
        means = (np.mean(row.nodes), np.mean(row.bytes), np.mean(row.nodes_over_clean))
        ratios = " | ".join(f"{mean:.2f}" for mean in means)
        lines.append(f"| {condition} | {recall} | {precision} | {ratios} | {1 - np.mean(row.errors):.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="rules", choices=("rules", "tier1", "tier2", "tier3"))
    parser.add_argument("--icons", type=int, default=0, help="icons of the test split to measure beside the scenes")
    parser.add_argument("--conditions", default=",".join(CONDITIONS), help="comma-separated; clean has to be the first")
    parser.add_argument("--only", default="", help="scenes by name, comma-separated")
    parser.add_argument("--save", type=Path, help="a folder for the traced SVGs; prints a line a picture too")
    arguments = parser.parse_args()
    conditions = arguments.conditions.split(",")
    if unknown := {*conditions} - {*CONDITIONS}:
        parser.error(f"no condition {', '.join(sorted(unknown))}; there are {', '.join(CONDITIONS)}")
    only = [name for name in arguments.only.split(",") if name]
    drawn = [(s.name, s.svg, render(s.svg, SIDE, SIDE), primitives(s.svg)) for s in scenes()]
    drawn = [row for row in drawn if not only or row[0] in only]
    icons = [
        (f"{p.icon.set}-{p.icon.name}", p.svg, p.clean, None)
        for p in (prepare(icon, "clean", SIDE) for icon in held_out(arguments.icons))
    ]
    tier = arguments.method.removeprefix("tier")
    if tier.isdigit():
        Running.acquire()
    try:
        tracer = by_tier(int(tier)) if tier.isdigit() else by_rules
        print(
            f"{len(drawn)} scenes, {arguments.method}:\n\n{table(measure(tracer, drawn, conditions, arguments.save))}\n"
        )
        if icons:
            rows = measure(tracer, icons, conditions, arguments.save)
            print(f"{len(icons)} icons, {arguments.method}:\n\n{table(rows)}")
    finally:
        if tier.isdigit():
            Running.release()


if __name__ == "__main__":
    main()
