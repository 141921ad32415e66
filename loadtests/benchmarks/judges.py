"""Who tells the better drawing of a noisy or blurred picture? ``python -m loadtests.benchmarks.judges [--limit 60]``.

Pictures of the `val` split are each drawn in several ways. A judge that does not know the clean picture picks one; its
regret is how much lower the SSIM of that drawing (against the clean picture) is than that of the best. Rank correlation
is Spearman's, between the judge's order and the true one.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from scipy.stats import spearmanr

from build_engines.labels.candidates import candidates
from loadtests.vectorize.dataset import Picture, held_out, prepare
from loadtests.vectorize.table import markdown
from serve.ensembles.vectorizer.candidates import fixed_parameters
from serve.vector.compare import LENIENT, Reference
from serve.vector.coverage import trace_coverage
from serve.vector.features import extract
from serve.vector.parameters import CoverageParameters
from serve.vector.restore import without_blur, without_noise

Floats = npt.NDArray[np.float64]
Judge = Callable[[Picture], Reference]

DRAWINGS = 10
JUDGES: dict[str, Judge] = {
    "the picture as it is": lambda p: Reference(p.rgba),
    "without noise (mean shift)": lambda p: Reference(without_noise(p.rgba)),
    "without noise, lenient SSIM": lambda p: Reference(without_noise(p.rgba), LENIENT),
    "without blur (sharpened)": lambda p: Reference(without_blur(p.rgba)),
}
CONDITIONS = ("jpeg90", "jpeg70", "jpeg60-95", "noisy", "blurred")


def drawings(picture: Picture) -> list[str]:
    """SVGs with the parameters of the rules and with sampled ones, the same in every run."""
    sampled = (
        p for p in candidates(2 * DRAWINGS, zlib.crc32(picture.key.encode())) if isinstance(p, CoverageParameters)
    )
    chosen = [fixed_parameters(extract(picture.rgba)), *list(sampled)[: DRAWINGS - 1]]
    return [trace_coverage(picture.rgba, replace(p, refine=1)) for p in chosen]


def judged(reference: Reference, svgs: list[str]) -> Floats:
    return np.array([reference.fidelity(svg).ssim for svg in svgs])


def regret_and_rank(verdict: Floats, truth: Floats) -> tuple[float, float]:
    rank = float(np.nan_to_num(spearmanr(verdict, truth).statistic))
    return float(truth.max() - truth[verdict.argmax()]), rank


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=60, help="icons of the val split (default 60)")
    arguments = parser.parse_args()
    console, rows = Console(stderr=True), []
    for condition in CONDITIONS:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in JUDGES}
        for icon in track(held_out(arguments.limit, "val"), condition, console=console):
            picture = prepare(icon, condition)
            svgs = drawings(picture)
            truth = judged(picture.goal, svgs)
            for name, judge in JUDGES.items():
                found[name].append(regret_and_rank(judged(judge(picture), svgs), truth))
        for name, pairs in found.items():
            regret, rank = np.mean(pairs, axis=0)
            rows.append([condition, name, f"{regret:.4f}", f"{rank:.2f}"])
    print(markdown(["condition", "judge", "regret", "rank correlation"], rows))


if __name__ == "__main__":
    main()
