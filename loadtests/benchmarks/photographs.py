"""Photographs, paintings and scans beside VTracer: ``python -m loadtests.benchmarks.photographs``.

The pictures of `loadtests.vectorize.photographs`, at each size. Prints, by size: SSIM, bytes and processor seconds of
VTracer and of each tier's drawing, how many pictures a tier draws worse than the tier below, and the colour error of
saturated places: mean OKLab distance, times 100, between blurred pictures where chroma is in the picture's highest
twentieth. Then the tiers' curve of SSIM over the logarithm of bytes beside VTracer: at its bytes, and at a third.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.vectorize.dataset import CONDITIONS, held_out, prepare
from loadtests.vectorize.photographs import NAMES, photograph
from serve.ensembles.vectorizer.candidates import pictorial_parameters
from serve.vector.compare import Reference, composite, render
from serve.vector.coverage.palette import oklab
from serve.vector.parameters import Parameters, reference_parameters
from serve.vector.pictorial import is_pictorial
from serve.vector.trace import trace

Rgba = npt.NDArray[np.uint8]
SIZES_PX = (256, 512, 2048, 4000)
TIERS = (1, 2, 3)


@dataclass(frozen=True)
class Point:
    ssim: float
    bytes: int
    seconds: float
    hue: float


def measured(rgba: Rgba, reference: Reference, parameters: Parameters) -> Point:
    began = time.process_time()
    svg = trace(rgba, parameters)
    spent = time.process_time() - began
    drawn = render(svg, rgba.shape[1], rgba.shape[0])
    return Point(reference.compare(drawn).ssim, len(svg), spent, _hue_error(rgba, drawn))


def _hue_error(rgba: Rgba, drawn: Rgba) -> float:
    window = (5, 5)
    a, b = (oklab(cv2.blur(_at_most(composite(one), 1024), window)) for one in (rgba, drawn))
    chroma = np.hypot(a[..., 1], a[..., 2])
    vivid = chroma >= np.quantile(chroma, 0.95)
    return float(100 * np.linalg.norm(a - b, axis=2)[vivid].mean())


def _at_most(rgb: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    scale = side / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    return np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def line(side: int, rows: Sequence[Sequence[Point]], detected: int) -> list[str]:
    """``rows``: by picture, VTracer's point and those of the tiers."""
    found = []
    for k, name in enumerate(("VTracer", *(f"tier {tier}" for tier in TIERS))):
        points = [row[k] for row in rows]
        ssim, size, spent, hue = (np.mean([getattr(p, f) for p in points]) for f in ("ssim", "bytes", "seconds", "hue"))
        ratio = np.exp(np.mean([np.log(row[k].bytes / row[0].bytes) for row in rows]))
        worse = sum(row[k].ssim < row[k - 1].ssim for row in rows) if k > 1 else 0
        found.append(f"| {side} | {name} | {ssim:.4f} | {min(p.ssim for p in points):.4f} | {size:,.0f} | {ratio:.3f} "
                     f"| {worse} | {hue:.2f} | {spent:.2f} | {detected} of {len(rows)} |")  # fmt: skip
    return found


def _gain(row: Sequence[Point], share: float) -> float:
    """SSIM over VTracer's where the tiers' curve has ``share`` of its bytes; beyond the curve its end counts, and below
    it what its slope says."""
    theirs, *ours = row
    size, ssim = np.log([p.bytes for p in ours]), [p.ssim for p in ours]
    at = float(np.log(share * theirs.bytes))
    if at < size[0]:
        return float(ssim[0] + (at - size[0]) * (ssim[1] - ssim[0]) / (size[1] - size[0])) - theirs.ssim
    return float(np.interp(at, size, ssim)) - theirs.ssim


def curve(side: int, rows: Sequence[Sequence[Point]]) -> str:
    cells = []
    for share in (1.0, 1 / 3):
        gains = [_gain(row, share) for row in rows]
        cells.append(f"{np.mean(gains):+.4f} | {min(gains):+.4f}")
    return f"| {side} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES_PX)), help="longer sides in pixels, comma-separated")
    parser.add_argument("--only", default=",".join(NAMES), help=f"comma-separated, of: {', '.join(NAMES)}")
    parser.add_argument("--each", action="store_true", help="print a line for each picture too")
    parser.add_argument("--icons", type=int, default=0, help="icons of the test split, of which those detected count")
    arguments = parser.parse_args()
    lines = [
        "| px | method | SSIM | lowest | bytes | bytes ratio | worse than the tier below "
        "| saturated, OKLab x 100 | CPU s | detected |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    curves = [
        "| px | SSIM gained at VTracer's bytes | least | at a third of them | least |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for side in map(int, arguments.sizes.split(",")):
        rows, detected = [], 0
        for name in arguments.only.split(","):
            rgba = photograph(name, side)
            height, width = rgba.shape[:2]
            reference = Reference(rgba)
            detected += is_pictorial(rgba)
            settings: tuple[Parameters, ...] = (
                reference_parameters(),
                *(pictorial_parameters(width, height, tier) for tier in TIERS),
            )
            rows.append([measured(rgba, reference, one) for one in settings])
            if arguments.each:
                print(f"{side} {name:24}", *(f"{p.ssim:.4f} {p.bytes:,} {p.seconds:.2f} s;" for p in rows[-1]))
        lines += line(side, rows, detected)
        curves.append(curve(side, rows))
    print("\n".join((*lines, "", *curves)))
    if arguments.icons:
        pictures = [prepare(icon, kind) for icon in held_out(arguments.icons) for kind in CONDITIONS]
        taken = [picture.key for picture in pictures if is_pictorial(picture.rgba)]
        print(f"\n{len(taken)} of {len(pictures)} pictures of icons are taken for photographs: {', '.join(taken)}")


if __name__ == "__main__":
    main()
