"""The picture of a run: replicas, waiting times and what waits, over one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from loadtests.scaling.timeline import Moment

mpl.use("Agg")
INK, MUTED = "#1f2937", "#9ca3af"
COLOURS = {"replicas": "#2563eb", "p95": "#d97706", "waiting": "#dc2626", "callers": MUTED}


def draw(moments: Sequence[Moment], title: str, path: Path) -> None:
    """As an image file; its kind is that of ``path``'s name."""
    seconds = [moment.second for moment in moments]
    figure, (replicas, p95, queue) = pyplot.subplots(3, 1, sharex=True, figsize=(9, 7), constrained_layout=True)
    figure.suptitle(title, color=INK, fontsize=11)
    replicas.step(seconds, [m.replicas for m in moments], where="post", color=COLOURS["replicas"], linewidth=2)
    replicas.set_ylim(0, max(m.replicas for m in moments) + 0.6)
    replicas.yaxis.get_major_locator().set_params(integer=True)
    replicas.set_ylabel("replicas")
    answered = [m for m in moments if m.p95_s is not None]
    p95.plot([m.second for m in answered], [m.p95_s for m in answered], color=COLOURS["p95"], linewidth=2)
    p95.set_ylim(bottom=0)
    p95.set_ylabel("p95, s")
    queue.step(seconds, [m.under_way for m in moments], where="post", color=MUTED, linewidth=1, label="under way")
    queue.step(seconds, [m.waiting for m in moments], where="post", color=COLOURS["waiting"], label="of them waiting")
    queue.set_ylim(bottom=0)
    queue.set_ylabel("requests")
    queue.set_xlabel("seconds")
    queue.legend(frameon=False, loc="upper right")
    for axes in (replicas, p95, queue):
        axes.grid(color="#e5e7eb", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
