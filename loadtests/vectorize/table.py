"""The benchmark's tables in Markdown, from measurements alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from loadtests.vectorize.measure import Measurement
from loadtests.vectorize.paired import Comparison, compare

BASE = "vtracer_pp2"
STOCK = "vtracer"
GOALS = {"tier1": (0.80, 0.83), "tier2": (0.85, 0.88), "tier3": (0.88, 0.92)}
"""Share of error to remove against the baseline: over the whole split, on clean pictures."""
TIER3_GOALS = {"jpeg90": 0.75, "jpeg70": 0.68, "128px": 0.70, "blurred": 0.70}
BYTES_GOAL = 0.50
UNMEASURED = "–"

Rows = Mapping[str, Sequence[Measurement]]


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right; empty without lines."""
    lines = list(lines)
    if not lines:
        return ""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *lines))


def percent(value: float) -> str:
    return UNMEASURED if math.isnan(value) else f"{100 * value:.1f} %"


def overview(rows: Rows, titles: Mapping[str, str]) -> str:
    """One line per method: means of the measures, times, and the comparison with the baseline."""
    header = ["method", "pictures", "SSIM", "SSIM 4x", "MSE e-4", "bytes", "gzip", "paths", "nodes", "ms p50", "ms p95"]
    header += ["error removed (95 %)", "at 4x", "bytes ratio", "VTracer wins", "failed"]
    lines = []
    for name, own in rows.items():
        if own:
            measures = _means(own)
            lines.append(
                [titles[name], str(len(own)), *measures, *_against_base(compare(own, rows.get(BASE, ()))), _failed(own)]
            )
    return markdown(header, lines)


def _means(rows: Sequence[Measurement]) -> list[str]:
    def mean(name: str) -> float:
        return float(np.mean([getattr(r, name) for r in rows]))

    middle, tail = np.quantile([r.ms for r in rows], [0.5, 0.95])
    return [
        f"{mean('ssim'):.4f}",
        UNMEASURED if math.isnan(mean("ssim4")) else f"{mean('ssim4'):.4f}",
        f"{mean('mse') * 1e4:.1f}",
        *(f"{mean(name):,.0f}" for name in ("bytes", "gzip_bytes", "paths", "nodes")),
        f"{middle:.0f}",
        f"{tail:.0f}",
    ]


def _against_base(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return ["–"] * 4
    interval = f"{percent(comparison.removed)} ({100 * comparison.low:.1f}–{100 * comparison.high:.1f})"
    ratio = f"{comparison.bytes_ratio:.2f}"
    return [interval, percent(comparison.removed4), ratio, percent(comparison.base_wins)]


def _failed(rows: Sequence[Measurement]) -> str:
    return str(sum(bool(r.failure) for r in rows))


def by(rows: Rows, titles: Mapping[str, str], attribute: str) -> str:
    """Error removed against the baseline and bytes ratio, per condition, set or size (``attribute``)."""
    groups = [str(g) for g in sorted({getattr(r, attribute) for own in rows.values() for r in own})]
    lines = []
    for name, own in rows.items():
        if name == BASE or not own:
            continue
        cells = []
        for group in groups:
            found = compare([r for r in own if str(getattr(r, attribute)) == group], rows.get(BASE, ()))
            cells.append(f"{percent(found.removed)} · {found.bytes_ratio:.2f}" if found else "–")
        lines.append([titles[name], *cells])
    return markdown([f"error removed · bytes ratio, by {attribute}", *groups], lines)


def definitions(rows: Rows, titles: Mapping[str, str]) -> str:
    """Both readings of "SSIM +20/30/35 %" (D-051): mean relative gain, and share of the remaining error removed."""
    stock, lines = rows.get(STOCK, ()), []
    for name, own in rows.items():
        found = compare(own, stock)
        if found and name != STOCK:
            lines.append([titles[name], percent(found.relative_gain), percent(found.removed)])
    if not lines:
        return ""
    possible = sum(r.ssim * 1.2 <= 1 for r in stock)
    note = f"SSIM +20 % is possible on {possible} of {len(stock)} pictures: elsewhere it would exceed 1."
    return markdown(["against VTracer's default", "mean relative SSIM gain", "error removed"], lines) + f"\n\n{note}"


def goals(rows: Rows) -> str:
    """The goals of the tiers beside what came out; missed ones say so."""
    base, lines = rows.get(BASE, ()), []
    for name, (whole, clean) in GOALS.items():
        own = rows.get(name, ())
        lines += [_goal(f"{name}, whole split", whole, own, base)]
        lines += [_goal(f"{name}, clean", clean, [r for r in own if r.condition == "clean"], base)]
    for condition, least in TIER3_GOALS.items():
        own = [r for r in rows.get("tier3", ()) if r.condition == condition]
        lines.append(_goal(f"tier3, {condition}", least, own, base))
    return markdown(["goal", "at least", "error removed", "bytes ratio ≤ 0.50", "VTracer wins ≤ 1 %", "met"], lines)


def _goal(what: str, least: float, own: Sequence[Measurement], base: Sequence[Measurement]) -> list[str]:
    found = compare(own, base)
    if found is None:
        return [what, percent(least), "not measured", "–", "–", "–"]
    met = found.removed >= least and found.bytes_ratio <= BYTES_GOAL and found.base_wins <= 0.01
    cells = [percent(found.removed), f"{found.bytes_ratio:.2f}", percent(found.base_wins)]
    return [what, percent(least), *cells, "yes" if met else "no"]
