"""`atelier audit` and `atelier costs`: entries of the audit log, and costs of requests by user, model or day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Column, Table

from serve.cli.database import AT_ONCE, ConfigOption, JsonOption, done, out, plain, when
from serve.settings import load

if TYPE_CHECKING:
    from serve.security.identity.audit import Entry
    from serve.state import State
    from serve.state.quality import Cost


def audit(
    user: Annotated[str | None, typer.Option("--user", "-u", help="Of one user.")] = None,
    key: Annotated[str | None, typer.Option("--key", "-k", help="With one key, by its id.")] = None,
    action: Annotated[str | None, typer.Option("--action", "-a", help="Such as key.revoke.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", "-s", help="Done to what has this id.")] = None,
    since: Annotated[str, typer.Option(help="How far back: 90m, 24h or 30d.")] = "30d",
    most: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Entries, the newest first.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show who did what, and from where: keys, users, lanes, flags, and what admins changed."""

    async def do(state: State) -> list[Entry]:
        from serve.security.identity.audit import Filters, page
        from serve.state.quality import parse_range
        from serve.state.tables import utc_now

        within: timedelta = parse_range(since)
        filters = Filters(user_id=user, key_id=key, action=action, subject=subject, since=utc_now() - within)
        found: list[Entry] = []
        cursor: str | None = None
        while len(found) < most:
            some = await page(state.database, filters, cursor, min(AT_ONCE, most - len(found)))
            found += some.items
            cursor = some.next_cursor
            if cursor is None:
                break
        return found

    found = done(do, config, {"range": "--since"})
    if as_json:
        print(json.dumps([plain(entry) for entry in found], indent=2))
        return
    table = Table(Column("when", no_wrap=True), "user", "key", "action", "subject", "details", "from")
    for entry in found:
        details = ", ".join(f"{name} {value}" for name, value in (entry.details or {}).items())
        cells = [
            when(entry.created_at),
            entry.user_id,
            entry.key_id,
            entry.action,
            entry.subject,
            details,
            entry.address,
        ]
        table.add_row(*(escape(cell or "") for cell in cells))
    out.print(table)


def costs(
    by: Annotated[Literal["user", "model", "day"], typer.Option("--by", "-b", help="What one row is of.")] = "user",
    since: Annotated[str, typer.Option(help="How far back: 90m, 24h or 30d.")] = "30d",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what requests cost: processor and GPU seconds, and money where `prices` has any."""

    async def do(state: State) -> Sequence[Cost]:
        from serve.state.quality import costs as sums
        from serve.state.quality import parse_range
        from serve.state.tables import utc_now

        return await sums(state.database, by, utc_now() - parse_range(since), state.settings.prices)

    found = done(do, config, {"range": "--since"})
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return
    right = [Column(name, justify="right") for name in ("requests", "CPU s", "GPU s", load(config).prices.currency)]
    table = Table(by, *right)
    for one in found:
        money = "" if one.money is None else f"{one.money:.4f}"
        numbers = (str(one.requests), f"{one.cpu_seconds:.2f}", f"{one.gpu_seconds:.2f}", money)
        table.add_row(escape(one.of or "none"), *numbers)
    out.print(table)
