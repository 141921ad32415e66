"""How pictures of measurements look, and lines in one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("Agg")
INK, MUTED, GRID = "#1f2937", "#9ca3af", "#e5e7eb"
COLOURS = ("#2563eb", "#d97706", "#dc2626", "#16a34a", "#7c3aed", MUTED)


def plain(axes: Axes) -> None:
    axes.grid(color=GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """As an image file; its kind is that of ``path``'s name. The figure is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def lines(
    path: Path,
    title: str,
    x: str,
    y: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    log_y: bool = False,
) -> None:
    """One line for each of ``series``, named in a legend, to the file ``path``."""
    figure, axes = pyplot.subplots(figsize=(8, 4.5), constrained_layout=True)
    axes.set_title(title, color=INK, fontsize=11)
    for (name, points), colour in zip(series.items(), COLOURS, strict=False):
        axes.plot([point[0] for point in points], [point[1] for point in points], color=colour, label=name, linewidth=2)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if log_y:
        axes.set_yscale("log")
    axes.legend(frameon=False)
    plain(axes)
    save(figure, path)
