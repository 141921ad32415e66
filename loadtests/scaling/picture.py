"""The picture of a run: replicas, waiting times and what waits, over one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot

from loadtests.lines import COLOURS, INK, MUTED, plain, save
from loadtests.scaling.timeline import Moment

BLUE, AMBER, RED, *_ = COLOURS


def draw(moments: Sequence[Moment], title: str, path: Path) -> None:
    """As an image file; its kind is that of ``path``'s name."""
    seconds = [moment.second for moment in moments]
    figure, (replicas, p95, queue) = pyplot.subplots(3, 1, sharex=True, figsize=(9, 7), constrained_layout=True)
    figure.suptitle(title, color=INK, fontsize=11)
    replicas.step(seconds, [m.replicas for m in moments], where="post", color=BLUE, linewidth=2)
    replicas.set_ylim(0, max(m.replicas for m in moments) + 0.6)
    replicas.yaxis.get_major_locator().set_params(integer=True)
    replicas.set_ylabel("replicas")
    answered = [m for m in moments if m.p95_s is not None]
    p95.plot([m.second for m in answered], [m.p95_s for m in answered], color=AMBER, linewidth=2)
    p95.set_ylim(bottom=0)
    p95.set_ylabel("p95, s")
    queue.step(seconds, [m.under_way for m in moments], where="post", color=MUTED, linewidth=1, label="under way")
    queue.step(seconds, [m.waiting for m in moments], where="post", color=RED, label="of them waiting")
    queue.set_ylim(bottom=0)
    queue.set_ylabel("requests")
    queue.set_xlabel("seconds")
    queue.legend(frameon=False, loc="upper right")
    for axes in (replicas, p95, queue):
        plain(axes)
    save(figure, path)
