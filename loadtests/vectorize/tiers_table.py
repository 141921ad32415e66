"""Tables about the learned part: what it adds, how it routes, what it foresees, where its time goes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from loadtests.vectorize.paired import compare
from loadtests.vectorize.routing import TIERS, foresight, routing
from loadtests.vectorize.table import Rows, markdown, percent

BASES = {"coverage_rules": "the rules (no model)", "coverage": "one fixed setting"}
"""The coverage tracer without any model: as serving sets it then, and with the same parameters for every picture."""
RIVALS = ("random_search", "local_search")


def learning(rows: Rows, titles: Mapping[str, str]) -> str:
    """Every tier and search against the coverage tracer without a model, a table for each of `BASES`."""
    tables = [_against(base, rows, titles) for base in BASES]
    return "\n\n".join(table for table in tables if table)


def _against(base_name: str, rows: Rows, titles: Mapping[str, str]) -> str:
    base, lines = rows.get(base_name, ()), []
    for name in (*TIERS, *RIVALS):
        found = compare(rows.get(name, ()), base)
        if found:
            interval = f"{percent(found.removed)} ({100 * found.low:.1f}–{100 * found.high:.1f})"
            ratio = f"{found.bytes_ratio:.2f}"
            lines.append([titles[name], str(found.pictures), interval, ratio, percent(found.base_wins)])
    header = [f"against {BASES[base_name]}", "pictures", "error removed (95 %)", "bytes ratio", "it wins"]
    return markdown(header, lines)


def against_search(rows: Rows) -> str:
    """Tier 3 (policy, then local refinement) against searches of equal time (D-041)."""
    lines = []
    for rival in RIVALS:
        found = compare(rows.get("tier3", ()), rows.get(rival, ()))
        if found:
            tries = np.mean([r.notes.get("tries", 0) for r in rows[rival]])
            interval = f"{percent(found.removed)} ({100 * found.low:.1f}–{100 * found.high:.1f})"
            cells = [f"{tries:.1f}", interval, f"{found.bytes_ratio:.2f}", percent(found.base_wins)]
            lines.append([rival, str(found.pictures), *cells])
    header = ["tier 3 against", "pictures", "its tries", "tier 3 removes (95 %)", "bytes ratio", "it wins"]
    return markdown(header, lines)


def routes(rows: Rows, targets: Mapping[str, float]) -> str:
    """What `auto` chose and how often that was right (D-053 asks for 90 %)."""
    lines = []
    for name, target in targets.items():
        found = routing(rows.get(name, ()), rows, target)
        if found:
            shares = [percent(found.chosen[tier]) for tier in TIERS]
            cells = [percent(found.accuracy), percent(found.reached)]
            lines.append([f"{target}", str(found.pictures), *shares, *cells])
    return markdown(["auto, target", "pictures", *TIERS, "right tier", "target met where possible"], lines)


def predictions(rows: Rows, titles: Mapping[str, str]) -> str:
    """Predicted against actual SSIM (D-053: within 10 %; F5: within 0.05)."""
    lines = []
    for name in (*TIERS, "auto"):
        found = foresight(rows.get(name, ()))
        if found:
            shares = [percent(found.within_10_percent), percent(found.within_005)]
            lines.append(
                [titles[name], str(found.pictures), *shares, f"{found.mean_error:.4f}", f"{found.spearman:.3f}"]
            )
    return markdown(["predicted quality", "pictures", "within 10 %", "within 0.05", "MAE", "Spearman"], lines)


def stages(rows: Rows, titles: Mapping[str, str]) -> str:
    """Median milliseconds per stage."""
    timed = {name: [r.notes["timings_s"] for r in rows.get(name, ()) if "timings_s" in r.notes] for name in TIERS}
    columns = list(dict.fromkeys(stage for own in timed.values() for timings in own for stage in timings))
    lines = [
        [titles[name], *(f"{1e3 * float(np.median([t.get(stage, 0.0) for t in own])):.1f}" for stage in columns)]
        for name, own in timed.items()
        if own
    ]
    return markdown(["median ms per stage", *columns], lines)
