"""``python -m build_engines retrain quality``: data, training, judgement, and the next version beside the others."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from build_engines import data
from build_engines.data import Split
from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.presets import PRESETS
from serve.engines.triton.manifests import version_label, version_numbers
from serve.ensembles.vectorizer.vectorization import EMBEDDER, QUALITY
from serve.errors import AtelierError, Conflict, InvalidRequest


@dataclass(frozen=True)
class Retraining:
    """``preset`` says how many original pictures are labelled."""

    samples: Path
    repository: Path
    preset: str
    epochs: int
    processes: int
    version: str | None
    seed: int = 0


def retrain(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="quality")],
    samples: Annotated[
        Path, typer.Option("--samples", exists=True, dir_okay=False, help="What `atelier models samples` exported.")
    ],
    preset: Annotated[
        str, typer.Option("--preset", help="How many original pictures are labelled: quick, 224; full, 1,170.")
    ] = "full",
    epochs: Annotated[int, typer.Option("--epochs", min=1, max=20, help="Over the larger part of the data.")] = 20,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Worker processes for tracing.")] = 2,
    repository: Annotated[
        Path, typer.Option("--repository", help="Where the engine is, and gets its next version.")
    ] = MODEL_REPOSITORY,
    version: Annotated[
        str | None,
        typer.Option("--from", help="The version to go on from, by its folder; else the lowest, which ships."),
    ] = None,
) -> None:
    """Train an engine on with what a site's conversions were measured to be (D-081).

    Refused, with the reasons, unless it is better on the site's own pictures and not worse on the test split.
    """
    if engine != QUALITY:
        raise typer.BadParameter("only quality is retrained", param_hint="ENGINE")
    if preset not in PRESETS:
        raise typer.BadParameter(f"one of {', '.join(PRESETS)}", param_hint="--preset")
    try:
        written = make_version(Retraining(samples, repository, preset, epochs, processes, version))
    except AtelierError as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{QUALITY}/{written}: atelier models load {QUALITY} {written}")


def make_version(run: Retraining) -> str:
    """The name of the new version's folder. Raises Conflict with the reasons against it, and InvalidRequest."""
    from build_engines.train.retrain import LEAST_JUDGED, LEAST_PICTURES, Data, compare
    from build_engines.train.retrain import retrain as train
    from build_engines.train.shipped import quality_of
    from build_engines.train.site_samples import read_samples

    current, label = _current(run.repository / QUALITY, run.version)
    (features, features_label) = _current(run.repository / EMBEDDER, None)
    before = quality_of(current / "model.onnx")
    site = Data(*(found := read_samples(run.samples, features_label, before)).split())
    if len(found.hashes) < LEAST_PICTURES or min(map(len, (site.train, site.choose, site.judge))) < LEAST_JUDGED:
        raise InvalidRequest(f"has {len(found.hashes)} pictures; {LEAST_PICTURES} are needed", "--samples")
    original, facts = originals(run, features / "model.onnx")
    after = train(before, site, original, run.epochs, run.seed)
    verdict = compare(before, after, site.judge, original.judge)
    typer.echo(json.dumps(verdict.report, indent=2))
    if verdict.reasons:
        raise Conflict("; ".join(verdict.reasons))
    facts |= {"site_pictures": len(found.hashes), "epochs": run.epochs, "from_version": label, "seed": run.seed}
    return export(after, run, label, facts, verdict.report, original.judge)


def _current(engine: Path, version: str | None) -> tuple[Path, str]:
    """The folder and the label of ``version``, or of the lowest."""
    versions = version_numbers(engine)
    if not versions or version not in (None, *versions):
        raise InvalidRequest(f"has no version {version or 'at all'} of {engine.name}", "--repository")
    chosen = version or versions[0]
    label = version_label(engine, chosen)
    if label is None:
        raise Conflict(f"{engine.name}/{chosen} has no usable manifest")
    return engine / chosen, label


def originals(run: Retraining, features: Path) -> tuple[Any, dict[str, Any]]:
    """The labelled pictures of the three splits, drawn and traced anew unless ``var/labels`` has them."""
    from build_engines.labels.collect import collect
    from build_engines.train.pictures import labelled
    from build_engines.train.pipeline import Run
    from build_engines.train.retrain import Data
    from build_engines.train.shipped import embed_drawn
    from build_engines.train.site_samples import Learnt

    if not data.installed():
        data.install()
    built = Run(PRESETS[run.preset], run.processes)
    parts = []
    splits: tuple[Split, ...] = ("train", "val", "test")
    for split in splits:
        drawn = built.to_label(split)
        collect(drawn, built.preset.candidates, built.store, run.processes)
        labels = labelled(drawn, built.store, built.preset.candidates)
        parts.append(Learnt(embed_drawn(drawn, features), labels))
    counts = {split: len(part) for split, part in zip(splits, parts, strict=True)}
    return Data(*parts), {"labels": built.store.folder.name, "original_pictures": counts}


def export(
    network: Any, run: Retraining, label: str, facts: dict[str, Any], report: dict[str, Any], judged: Any
) -> str:
    """Staged in a repository of its own, with parity, then laid beside the versions that are there."""
    from build_engines.export.engine import Provenance, write_engine
    from build_engines.train.retrain import errors
    from serve.engines.triton.repository_install import install_engines

    found = errors(network, judged)
    number = int(version_numbers(run.repository / QUALITY)[-1]) + 1
    metrics: dict[str, Any] = {name: {"mean_absolute_error": round(float(found[name].mean()), 4)} for name in found}
    command = f"python -m build_engines retrain quality --preset {run.preset} --epochs {run.epochs}"
    provenance = Provenance(f"{label.partition('+')[0]}+site{number}", command, facts, metrics | {"retraining": report})
    with tempfile.TemporaryDirectory() as staging:
        write_engine(QUALITY, network, provenance, Path(staging))
        ((_, written),) = install_engines(Path(staging), run.repository, typer.echo)
    return written
