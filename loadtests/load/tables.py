"""What a run says in the terminal: Markdown, as the documents have it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from loadtests.load.limits import MIB, Measured, degradations
from loadtests.load.outcome import STEP, Outcome
from loadtests.load.run import Report
from loadtests.vectorize.table import UNMEASURED, markdown

HEADER = ["requests", "requests/s", "p50 ms", "p95 ms", "p99 ms", "failures"]


def kinds(report: Report) -> str:
    """One line per kind of work and per step, then one per vocabulary that asks for several things, then all work."""
    rows = dict(report.kinds)
    counts = Counter(kind.partition(":")[0] for kind in rows if f": {STEP}" not in kind)
    rows |= {f"{word}, all": found for word, found in report.vocabularies.items() if counts[word] > 1}
    rows["all work"] = report.measured.outcome
    return markdown([report.scenario.name, *HEADER], [[name, *cells(found)] for name, found in rows.items()])


def cells(found: Outcome) -> list[str]:
    times = [f"{took:.0f}" for took in (found.p50_ms, found.p95_ms, found.p99_ms)]
    return [str(found.requests), f"{found.requests_per_second:.1f}", *times, str(found.failures)]


def failures(found: Mapping[str, Outcome]) -> str:
    rows = [[kind, text, str(count)] for kind, one in found.items() for text, count in sorted(one.errors.items())]
    return markdown(["failures of", "what was wrong", "times"], rows)


def beside(measured: Measured, baseline: Measured | None, name: str) -> str:
    """What else limits are about, as far as it is known."""
    notes = measured.notes
    lines = []
    if notes.due:
        lines.append(
            f"arrivals: {notes.due} were due, {notes.late} late ({notes.unsent} of them never sent), "
            f"the latest by {notes.worst_late_s:.2f} s"
        )
    if notes.cache:
        lines.append(f"cache: {notes.hit_ratio:.1%} of answers ({', '.join(_counted(notes.cache))})")
    if notes.previews:
        lines.append(f"previews: {notes.previews}")
    if baseline is not None:
        missing = ", ".join(f"{word} {share:+.1%}" for word, share in degradations(measured, baseline))
        lines.append(
            f"against {name}: {measured.outcome.right_per_second:.1f} right answers/s to "
            f"{baseline.outcome.right_per_second:.1f}; missing: {missing}; "
            f"p95 {measured.outcome.p95_ms:.0f} ms to {baseline.outcome.p95_ms:.0f} ms"
        )
    return "\n".join([*lines, memory(measured)])


def memory(measured: Measured) -> str:
    if not measured.memory_bytes:
        return "memory: not known (the stack does not run here, or --pid was not told)"
    drift = UNMEASURED if math.isnan(measured.drift_mib) else f"{measured.drift_mib:+.0f} MiB"
    before = measured.memory_bytes[0] / MIB
    return f"memory: {before:.0f} MiB before, +{measured.growth_mib:.0f} MiB at most; last third to middle: {drift}"


def _counted(words: Mapping[str, int]) -> list[str]:
    return [f"{word} {count}" for word, count in sorted(words.items())]
