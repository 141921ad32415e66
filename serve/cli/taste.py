"""`atelier taste`: what users like, exported or deleted, by whoever runs the site."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from serve.cli.database import ConfigOption, JsonOption, done, me, out

if TYPE_CHECKING:
    from serve.personalisation.taste import TasteService
    from serve.state import State

taste = typer.Typer(help="What users like, learned from their feedback.", no_args_is_help=True)
UserArgument = Annotated[str, typer.Argument(metavar="USER")]


def _service(state: State) -> TasteService:
    from serve.ensembles.prompts.analysis import PromptAnalyser
    from serve.personalisation.taste import TasteService

    return TasteService(state.database, state.settings.taste, PromptAnalyser())


@taste.command()
def show(user: UserArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show the preferences of a user, and what stands out."""

    async def do(state: State) -> dict[str, Any]:
        from serve.personalisation.analytics import insights

        service = _service(state)
        profile = await service.profile(user)
        found = insights(profile)
        return {**await service.document(user, profile), "insights": [one["text"] for one in found]}

    found = done(do, config, {})
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("", "", show_header=False)
    for name, value in found.items():
        shown = value
        if isinstance(value, dict):
            scores = {key: one["score"] if isinstance(one, dict) else one for key, one in value.items()}
            shown = ", ".join(f"{key} {score:+.2f}" for key, score in sorted(scores.items(), key=lambda one: -one[1]))
        elif isinstance(value, list):
            shown = "\n".join(value)
        table.add_row(name, escape(str(shown if shown is not None else "")))
    out.print(table)


@taste.command()
def export(user: UserArgument, config: ConfigOption = None) -> None:
    """Print all that is known of the taste of a user, as JSON."""

    async def do(state: State) -> dict[str, Any]:
        document: dict[str, Any] = json.loads("".join([part async for part in _service(state).export(user)]))
        return document

    print(json.dumps(done(do, config, {}), indent=2))


@taste.command()
def forget(user: UserArgument, config: ConfigOption = None) -> None:
    """Delete all that is known of the taste of a user; favourites of the gallery stay."""

    async def do(state: State) -> int:
        from serve.security.identity.audit import record_now

        deleted = await _service(state).forget(user)
        await record_now(state.database, me(), "taste.delete", user, events=deleted)
        return deleted

    out.print(f"deleted: {done(do, config, {})} events")
