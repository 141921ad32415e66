"""``python -m loadtests.simulate``: steps batched against requests batched, on paper, for 1 to 1,000 GPUs.

Requests come at random (Poisson), with 8 or 30 steps. Load is the share of the most pictures that the GPUs can draw
with the best batch; all ways to batch get the same requests. Prints Markdown; ``--plot`` also draws latency by load.
``--validate`` compares the simulation with the real starter family on this machine instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from loadtests.charts import lines
from loadtests.simulate import tables
from loadtests.simulate.curve import Curve
from loadtests.simulate.curve_files import GUIDED, known, read
from loadtests.simulate.simulation import BATCHING, Demand
from loadtests.simulate.validate import validate

GPUS = (1, 10, 100, 1000)
LOADS = (0.3, 0.6, 0.9)
PLOTTED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def plot(curve: Curve, demand: Demand, folder: Path, name: str) -> Path:
    """p95 slowdown by load, for each way to batch, at one GPU."""
    series = {
        way: [(load, tables.run(curve, way, 1, load, demand).slowdown(0.95)) for load in PLOTTED] for way in BATCHING
    }
    path = folder / f"simulate_{name}.png"
    title = f"{curve.name}: one GPU, {' or '.join(map(str, demand.steps))} steps"
    lines(path, title, "load", "p95 slowdown: times the same picture alone", series, log_y=True)
    return path


def print_tables(curve: Curve, demand: Demand, gpus: Sequence[int], loads: Sequence[float]) -> None:
    """Prints all tables of a curve."""
    most = curve.per_second(demand.mean_steps)
    alone = curve.share_alone(demand.mean_steps)
    print(f"{curve.name}: batching gains {curve.gain:.1f} times; one GPU draws at most {most:.2f} pictures/s")
    print(f"One at a time it draws at most {alone:.0%} of that.")
    print(f"{curve.source}\n")
    print(tables.batching(curve, gpus, loads, demand) + "\n", flush=True)
    print(tables.cancels(curve, loads, demand) + "\n", flush=True)
    print(tables.places(curve, loads[-1], demand) + "\n", flush=True)
    many = [count for count in gpus if count > 1]
    print(tables.routing(curve, many, loads[-1:], demand) + "\n", flush=True)
    print(tables.scaling(curve, demand) + "\n", flush=True)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--curve",
        nargs="+",
        default=known(),
        help=f"{', '.join(known())}, or files: a profile.json of `atelier profile` or of benchmarks.unet --out",
    )
    parser.add_argument("--rows", type=int, choices=(1, 2), default=GUIDED, help="of a picture; 1: no guidance")
    parser.add_argument("--gpus", nargs="+", type=int, default=GPUS)
    parser.add_argument("--loads", nargs="+", type=float, default=LOADS)
    parser.add_argument("--steps", nargs="+", type=int, default=[8, 30], help="equally likely")
    parser.add_argument("--plot", type=Path, help="a folder for the pictures, such as docs/media")
    parser.add_argument("--validate", action="store_true", help="against the real one, on this machine")
    parser.add_argument("--requests", type=int, default=60, help="of a validated load")
    options = parser.parse_args(given)
    if options.validate:
        print(validate(options.requests))
        return
    try:
        files = {name: read(name, options.rows) for name in options.curve}
    except (OSError, ValueError) as error:
        parser.error(str(error))
    demand = Demand(tuple(options.steps))
    for name, curves in files.items():
        for place, curve in enumerate(curves):
            print_tables(curve, demand, options.gpus, options.loads)
            if options.plot:
                stem = Path(name).stem if len(curves) == 1 else f"{Path(name).stem}_{place}"
                print(f"drawn: {plot(curve, demand, options.plot, stem)}\n", flush=True)


if __name__ == "__main__":
    main()
