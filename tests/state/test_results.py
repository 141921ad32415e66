"""Results by their ids, and their stored thumbnails (A-115)."""

from __future__ import annotations

import dataclasses

import pytest

from serve.ensembles.requests import File, Outcome
from serve.errors import NotFound
from serve.jobs.records import insert_results
from serve.state.database import Database
from serve.state.gallery import get_generation, get_result, set_thumbnail
from serve.state.objects.names import Stored
from serve.state.tables import generations, utc_now


async def test_result_has_its_generation_and_user(database: Database) -> None:
    files = [File(b"a", "image/png", 8, 4, 7), File(b"b", "image/svg+xml")]
    generation_row = {"id": "g", "user_id": "ada", "kind": "illustrate", "status": "completed", "created_at": utc_now()}
    async with database.write() as connection:
        await connection.execute(generations.insert().values(**generation_row, prompt="a fox"))
        outcome = Outcome(files, {}, "mini", 0.5)
        names = await insert_results(connection, "g", outcome, [Stored("a.png", 1), Stored("b.svg", 1)])
    first, second = [await get_result(database, name) for name in names]
    assert (first.object, first.width, first.height, first.seed, first.model) == ("a.png", 8, 4, 7, "mini")
    assert (second.object, second.width, second.seed, second.place) == ("b.svg", None, None, 1)
    assert (first.user_id, first.prompt, first.generation_id) == ("ada", "a fox", "g")
    in_gallery = (await get_generation(database, "g")).results
    field_names = [field.name for field in dataclasses.fields(in_gallery[0])]
    assert {name: getattr(first, name) for name in field_names} == dataclasses.asdict(in_gallery[0])

    await set_thumbnail(database, first.id, "t.webp")
    assert (await get_result(database, first.id)).thumbnail == "t.webp"
    assert (await get_result(database, second.id)).thumbnail is None
    await set_thumbnail(database, "gone", "t.webp")


@pytest.mark.parametrize("name", ["none", "", "\0", "x" * 10_000])
async def test_missing_result_is_not_found(database: Database, name: str) -> None:
    with pytest.raises(NotFound):
        await get_result(database, name)
