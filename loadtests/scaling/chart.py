"""The picture of a run: replicas, waiting times and what waits, over one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot

from loadtests.charts import COLOURS, INK, MUTED, plain, save
from loadtests.scaling.timeline import Moment

BLUE, AMBER, RED, *_ = COLOURS


def draw(moments: Sequence[Moment], title: str, path: Path) -> None:
    """As an image file; its kind is that of ``path``'s name."""
    seconds = [moment.second for moment in moments]
    figure, (replicas, p95, queue) = pyplot.subplots(3, 1, sharex=True, figsize=(9, 7), constrained_layout=True)
    figure.suptitle(title, color=INK, fontsize=11)
    all_there = [m.replicas for m in moments]
    replicas.step(seconds, all_there, where="post", color=MUTED, linewidth=1, label="with those that start or end")
    replicas.step(seconds, [m.ready for m in moments], where="post", color=BLUE, linewidth=2, label="ready")
    replicas.set_ylim(0, max(all_there) + 0.6)
    replicas.yaxis.get_major_locator().set_params(integer=True)
    replicas.set_ylabel("replicas")
    replicas.legend(frameon=False, loc="lower right")
    answered = [m for m in moments if m.p95_s is not None]
    p95.plot([m.second for m in answered], [m.p95_s for m in answered], color=AMBER, linewidth=2)
    p95.set_ylim(bottom=0)
    p95.set_ylabel("p95, s")
    queue.step(seconds, [m.under_way for m in moments], where="post", color=MUTED, linewidth=1, label="under way")
    queue.step(seconds, [m.waiting for m in moments], where="post", color=RED, label="waiting in replicas")
    queue.set_ylim(bottom=0)
    queue.yaxis.get_major_locator().set_params(integer=True)
    queue.set_ylabel("requests")
    queue.set_xlabel("seconds")
    queue.legend(frameon=False, loc="upper right")
    for axes in (replicas, p95, queue):
        plain(axes)
    save(figure, path)
