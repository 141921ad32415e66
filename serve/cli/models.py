"""`atelier models`: versions of engines, and their rollout."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from serve.cli.database import ConfigOption, JsonOption, done, err, exit_on_error, me, out, when
from serve.errors import InvalidRequest
from serve.settings import load as load_settings

if TYPE_CHECKING:
    from serve.releases.rollouts.drift import VersionDrift
    from serve.releases.rollouts.site import ListedVersion, Rollout
    from serve.state import State

models = typer.Typer(
    help="Versions of engines: load one beside the current one, give it to some users, promote it, roll back.",
    no_args_is_help=True,
)

Engine = Annotated[str, typer.Argument(metavar="ENGINE", help="Its folder in the model repository.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="Its folder in the engine's: 1, 2, ...")]


@models.command("list")
def list_models(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show every version of every engine, who gets it, and how many replicas have loaded it."""

    async def do(state: State) -> list[ListedVersion]:
        from serve.releases.rollouts.site import list_versions

        return await list_versions(state)

    found = done(do, config, {})
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return
    table = Table("engine", "version", "label", "role", "users", "loaded", "failure")
    for one in found:
        users = f"{one.percentage:g} %" if one.role in ("current", "candidate") else ""
        loaded = f"{one.replicas} of {one.of}" if one.of else ""
        table.add_row(one.engine, one.version, one.label or "?", one.role, users, loaded, escape(one.failure))
    out.print(table)


@models.command("add")
def add(
    folder: Annotated[Path, typer.Argument(help="With a folder for each engine.", exists=True, file_okay=False)],
    repository: Annotated[
        Path | None, typer.Option(help="The model repository; none: the one in the settings.", file_okay=False)
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Lay the engines of FOLDER into the model repository: a version that it lacks gets the next number.

    Prints engine and version of each that is new; none of them is served before `load` and `promote`. What is there
    stays as it is.
    """
    from serve.cli.machine.preparation import writable_repository
    from serve.engines.triton.repository_install import install_engines

    def tell(what: str) -> None:
        err.print(what, markup=False, soft_wrap=True)

    with exit_on_error():
        target = writable_repository(repository or _only_repository(config))
        for engine, version in install_engines(folder, target, tell):
            print(engine, version)


def _only_repository(config: Path | None) -> Path:
    """Raises InvalidRequest if the ensembles have different repositories."""
    settings = load_settings(config)
    found = {settings.vectorizer.model_repository, settings.illustrator.model_repository}
    if len(found) > 1:
        raise InvalidRequest("each ensemble has a model repository of its own: say which", "--repository")
    return found.pop()


@models.command("load")
def load(engine: Engine, version: Version, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Have every replica load a version and examine it: its manifest, checksum and parity, and a real inference."""
    _change(
        lambda changes, state: changes.load(state, engine, version, me()),
        config,
        as_json,
        f"Loading {engine}/{version}",
    )


@models.command("split")
def split(
    engine: Engine,
    percentage: Annotated[float, typer.Argument(metavar="PERCENTAGE", min=0, max=100)],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Give the loaded candidate to a percentage of the users, always the same ones."""
    _change(lambda changes, state: changes.split(state, engine, percentage, me()), config, as_json)


@models.command("promote")
def promote(
    engine: Engine,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="Else the candidate.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Serve a version to all, once every replica has examined it; refused, with the reason, when it is not fit."""
    _change(
        lambda changes, state: changes.promote(state, engine, version, me()),
        config,
        as_json,
        f"Examining {engine}/{version or 'the candidate'}",
    )


@models.command("rollback")
def rollback(
    engine: Engine,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="To get no traffic any more.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """End a split; without one, serve the version before the current one again. Nobody is asked: it takes a moment.

    With VERSION it is that one alone that is left: said twice, nothing more happens. Without, nobody goes back twice.
    """
    _change(lambda changes, state: changes.rollback(state, engine, version, me()), config, as_json)


@models.command("unload")
def unload(engine: Engine, version: Version, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Have every replica drop a version that is not the current one."""
    _change(lambda changes, state: changes.unload(state, engine, version, me()), config, as_json)


@models.command("report")
def report(engine: Engine, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Compare the versions that users had: errors, time, quality, ratings, with 95 % confidence intervals."""

    async def do(state: State) -> dict[str, Any]:
        from serve.releases.rollouts.report import compare_versions

        return await compare_versions(state.database, engine)

    found = done(do, config, {"engine": "ENGINE"})
    if as_json:
        print(json.dumps(found, indent=2))
        return
    metrics = list(found["versions"][0]["metrics"])
    times = ("p50_time_s", "p95_time_s")
    table = Table("version", "users", "generations", *(name.replace("_", " ") for name in (*metrics, *times)))
    for one in found["versions"]:
        cells = [*(_interval(one["metrics"][name]) for name in metrics), *(_number(one[name]) for name in times)]
        table.add_row(one["version"], str(one["users"]), str(one["generations"]), *cells)
    if found["difference"] is not None:
        table.add_row("difference", "", "", *(_interval(found["difference"][name]) for name in metrics), "", "")
    out.print(table)
    if found["note"] is not None:
        out.print(found["note"], markup=False, soft_wrap=True)


@models.command("drift")
def show_drift(
    window: Annotated[int, typer.Option(min=10, max=10_000, help="Conversions of a window.")] = 200,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Compare the errors of `quality` on the site's conversions with the error in its manifest.

    Needs conversions that were recorded: `vectorizer.samples.collect`.
    """

    async def do(state: State) -> list[VersionDrift]:
        from serve.releases.rollouts.drift import drift

        return await drift(state, window)

    found = done(do, config, {})
    if as_json:
        print(json.dumps([{**asdict(one), "drifted": one.drifted} for one in found], indent=2, default=str))
        return
    table = Table("quality", "until", "conversions", "mean error", "spread", "absolute error", "manifest's", "drifted")
    for one in found:
        expected = _number(one.validation_error)
        for each in one.windows:
            absolute = f"{each.mean_absolute_error:.3g}\n{each.low:.3g} to {each.high:.3g}"
            table.add_row(
                one.version or "?", when(each.until), str(each.conversions), f"{each.mean_error:+.3g}",
                f"{each.spread:.3g}", absolute, expected, "yes" if each.drifted else "no",
            )  # fmt: skip
    out.print(table if found else "no conversions were recorded: see vectorizer.samples.collect")


@models.command("samples")
def export_samples(
    file: Annotated[Path, typer.Argument(help="The .npz file that is written.", dir_okay=False)],
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder for the pictures, where the site allows it (`vectorizer.samples.pictures`)."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Export the recorded conversions, for `python -m build_engines retrain quality --samples FILE`."""

    async def do(state: State) -> tuple[int, int]:
        from serve.jobs import quality_samples

        return await quality_samples.export_samples(state, file, pictures)

    samples, copied = done(do, config, {})
    out.print(f"{file}: {samples} conversions, {copied} pictures", markup=False, soft_wrap=True)


def _change(
    operation: Callable[[Any, State], Awaitable[Rollout]], config: Path | None, as_json: bool, what: str = ""
) -> None:
    """``operation`` gets the module `serve.releases.rollouts.changes`, which is slow to import, and the state."""
    from serve.releases.rollouts import changes

    words = {"engine": "ENGINE", "version": "VERSION", "percentage": "PERCENTAGE"}
    with err.status(what or "Writing it down"):
        rollout = done(partial(operation, changes), config, words)
    if as_json:
        print(json.dumps(asdict(rollout), indent=2, default=str))
    else:
        out.print(f"{rollout.engine}: {rollout.describe()}", markup=False, soft_wrap=True)


def _interval(estimate: dict[str, Any]) -> str:
    if estimate["low"] is None:
        return _number(estimate["value"])
    return f"{estimate['value']:.3g}\n{estimate['low']:.3g} to {estimate['high']:.3g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
