"""Pages, filters and searches of one user's 25,000 generations among 50,000 (C-160)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from loadtests.queue.callers import Samples
from loadtests.queue.databases import analyze
from loadtests.queue.report import Line, line
from serve.ensembles.requests import ILLUSTRATE
from serve.settings import Settings
from serve.state import State
from serve.state.cursors import NEWEST, RATING, Sort
from serve.state.database import Database
from serve.state.gallery import Filters, page
from serve.state.job_states import COMPLETED, FAILED, new_id
from serve.state.tables import generations, results

GOAL_MS = 100.0
USER = "ada"
LIMIT = 20
START, DAYS = datetime(2026, 1, 1, tzinfo=UTC), 30
_MODELS = ("mini", "turbo", "classic")
_WORDS = [a + b + c for a in ("ba", "ke", "li", "mo", "su", "ta") for b in "aeiou" for c in ("n", "r", "st", "lk")]
_AT_ONCE = 2000


@dataclass(frozen=True)
class Plan:
    mine: int = 25_000
    others: int = 25_000
    repetitions: int = 50


Case = Callable[[random.Random], tuple[Filters, Sort]]


def _filtered(**values: Any) -> Case:
    return lambda _: (Filters(user_id=USER, **values), NEWEST)


def _searched(words: int) -> Case:
    return lambda pick: (Filters(user_id=USER, text=" ".join(pick.sample(_WORDS, words))), NEWEST)


def _of_a_day(pick: random.Random) -> tuple[Filters, Sort]:
    since = START + timedelta(days=pick.randrange(DAYS))
    return Filters(user_id=USER, since=since, until=since + timedelta(days=1)), NEWEST


CASES: dict[str, Case] = {
    "first page": _filtered(),
    "by model": lambda pick: (Filters(user_id=USER, model=pick.choice(_MODELS)), NEWEST),
    "by status (1 % failed)": _filtered(status=FAILED),
    "favourites (5 %)": _filtered(favorite=True),
    "of one day": _of_a_day,
    "search, one word": _searched(1),
    "search, two words": _searched(2),
    "search, a word that no prompt has": _filtered(text="zebra"),
    "the best rated": lambda _: (Filters(user_id=USER), RATING),
}
DEEP, OFFSET = "page 1,000 by its cursor", "page 1,000 by OFFSET"


async def measure(database: str, settings: Settings, plan: Plan) -> list[Line]:
    state = await State.open(settings)
    try:
        await fill(state.database, plan)
        await analyze(state.database)
        samples = {name: Samples() for name in (*CASES, DEEP, OFFSET)}
        for repetition in range(plan.repetitions):
            for name, one in samples.items():
                await _query(state.database, name, random.Random(repetition), plan, one)
    finally:
        await state.close()
    for one in samples.values():
        one.seconds = sum(one.taken_s)
    found = [line(database, name, samples[name], GOAL_MS) for name in (*CASES, DEEP)]
    return [
        *found[:-1],
        line(database, DEEP, samples[DEEP], GOAL_MS, peer=OFFSET),
        line(database, OFFSET, samples[OFFSET]),
    ]


async def _query(database: Database, name: str, pick: random.Random, plan: Plan, samples: Samples) -> None:
    """Finding the cursor is not what is measured."""
    mine = sa.select(generations).where(generations.c.user_id == USER).order_by(*NEWEST.order_by)
    before = max(1, min(plan.mine - LIMIT, 1000 * LIMIT - pick.randrange(50)))
    if name in CASES:
        filters, sort = CASES[name](pick)
        cursor = None
    else:
        filters, sort = Filters(user_id=USER), NEWEST
        async with database.read() as connection:
            cursor = NEWEST.cursor((await connection.execute(mine.offset(before - 1).limit(1))).one())

    async def by_cursor(_: int) -> None:
        assert (await page(database, filters, sort, cursor, LIMIT)).items or "search" in name

    async def by_offset(_: int) -> None:
        async with database.read() as connection:
            rows = (await connection.execute(mine.offset(before).limit(LIMIT))).all()
            ids = [row.id for row in rows]
            kept = await connection.execute(sa.select(results).where(results.c.generation_id.in_(ids)))
            assert len(kept.all()) >= len(rows) > 0

    await samples.one(by_offset if name == OFFSET else by_cursor, 0)


async def fill(database: Database, plan: Plan) -> None:
    """Everybody's generations, evenly over ``DAYS``, in turns; most with one picture."""
    rng = random.Random(0)
    users = [USER] * plan.mine + [f"user{n % 50}" for n in range(plan.others)]
    rng.shuffle(users)
    apart = timedelta(days=DAYS) / len(users)
    made_at = [(START + number * apart, user) for number, user in enumerate(users)]
    for start in range(0, len(users), _AT_ONCE):
        made = [_generation(rng, at, user) for at, user in made_at[start : start + _AT_ONCE]]
        async with database.write() as connection:
            await connection.execute(generations.insert(), made)
            await connection.execute(results.insert(), [row for one in made for row in _results(rng, one)])


def _generation(rng: random.Random, at: datetime, user: str) -> dict[str, Any]:
    options = {"prompt": "", "width": 512, "height": 512, "num_inference_steps": 20, "guidance_scale": 5.0, "seed": 7}
    return {
        "id": new_id(), "user_id": user, "kind": ILLUSTRATE, "prompt": " ".join(rng.choices(_WORDS, k=12)),
        "model": rng.choice(_MODELS), "parameters": {"kind": ILLUSTRATE, "options": options, "more": {}},
        "details": {"parameters": options, "timings_s": dict.fromkeys(("text", "steps", "decode", "encode"), 0.25)},
        "status": FAILED if rng.random() < 0.01 else COMPLETED, "favorite": rng.random() < 0.05,
        "rating": rng.choice((1.0, 2.0, 3.0, 4.0, 5.0)) if rng.random() < 0.2 else None,
        "created_at": at, "started_at": at, "completed_at": at + timedelta(seconds=9), "generation_time_s": 9.0,
    }  # fmt: skip


def _results(rng: random.Random, made: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": new_id(), "generation_id": made["id"], "place": place, "object": f"{rng.getrandbits(256):064x}.png",
            "media_type": "image/png", "model": made["model"], "width": 512, "height": 512, "bytes": 250_000,
            "seed": 7 + place, "created_at": made["completed_at"],
        }
        for place in range(4 if rng.random() < 0.1 else 1)
    ]  # fmt: skip
