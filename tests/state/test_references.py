"""Subject references: what is stored of an upload, the newest per name, pages and limits (A-021, A-022, F 12)."""

from __future__ import annotations

import asyncio
import hashlib
import io
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pictures import ACCEPTED, REFUSED, drawn, encode
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serve.api.library.reference_store import SubjectReferenceManager
from serve.errors import AtelierError, Conflict, InvalidRequest, NotFound, TooLarge
from serve.settings import ReferencesSettings, Settings
from serve.state import State
from serve.state.database import Database
from serve.state.objects.objects import Objects
from serve.state.tables import objects, subject_references, utc_now

GPS = 0x8825


@pytest.fixture
def state(database: Database, tmp_path: Path) -> State:
    settings = Settings(state_dir=tmp_path / "state", references=ReferencesSettings(max_per_user=5))
    return State(database, Objects(settings, database), settings)


@pytest.fixture
def references(state: State) -> SubjectReferenceManager:
    return SubjectReferenceManager(state)


def photograph() -> bytes:
    """A rotated JPEG whose EXIF data has the place and the author."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x013B] = "Ada Lovelace"
    exif.get_ifd(GPS).update({1: "N", 2: (51.0, 30.0, 26.0), 3: "W", 4: (0.0, 7.0, 39.0)})
    picture = Image.new("RGB", (96, 48), (200, 0, 0))
    picture.paste((0, 0, 200), (0, 0, 48, 48))
    return encode(picture, "JPEG", exif=exif, quality=95, comment=b"of Ada")


async def test_only_pixels_are_stored(references: SubjectReferenceManager, state: State) -> None:
    data = photograph()
    assert dict(Image.open(io.BytesIO(data)).getexif().get_ifd(GPS))
    stored = await references.store_subject_reference("ada", "my cat", data)
    png = await state.objects.get(stored.object)
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.size) == ("PNG", (48, 96)), "upright"
    assert image.getpixel((24, 10))[2] > 150, "what was left is above"
    assert image.info == {}
    assert dict(image.getexif()) == {}
    assert b"Ada" not in png
    small = Image.open(io.BytesIO(await state.objects.get(stored.thumbnail)))
    assert (small.format, small.size) == ("WEBP", (48, 96))
    assert dict(small.getexif()) == {}
    assert (stored.width, stored.height, stored.bytes) == (48, 96, len(png))
    assert stored.md5 == hashlib.md5(data, usedforsecurity=False).hexdigest()


async def test_png_text_is_removed_and_transparency_kept(references: SubjectReferenceManager, state: State) -> None:
    texts = PngInfo()
    texts.add_text("Author", "Ada Lovelace")
    stored = await references.store_subject_reference("ada", "cat", encode(drawn(), "PNG", pnginfo=texts))
    image = Image.open(io.BytesIO(await state.objects.get(stored.object)))
    assert image.info == {}
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0))[3] == 0


async def test_large_picture_has_a_small_thumbnail(references: SubjectReferenceManager, state: State) -> None:
    stored = await references.store_subject_reference("ada", "cat", encode(drawn("RGB", 600)))
    assert Image.open(io.BytesIO(await state.objects.get(stored.thumbnail))).size == (256, 256)


async def test_newest_reference_of_a_name_is_returned(references: SubjectReferenceManager) -> None:
    await references.store_subject_reference("ada", "cat", encode(drawn(size=32)))
    newest = await references.store_subject_reference("ada", "cat", encode(drawn(size=64)))
    await references.store_subject_reference("ada", "dog", encode(drawn(size=48)))
    await references.store_subject_reference("bob", "cat", encode(drawn(size=40)))
    assert await references.get_subject_reference("ada", "cat") == newest
    for user, name in (("ada", "horse"), ("carl", "cat"), ("ada", "Cat")):
        with pytest.raises(NotFound):
            await references.get_subject_reference(user, name)


@pytest.mark.parametrize(
    ("user", "subject", "name"),
    [
        ("ada", "cat", "ada_cat_"),
        ("../../etc", "passwd\n", "______etc_passwd__"),
        ("a/b", "C:\\x", "a_b_C__x_"),
        ("狐", "'; DROP TABLE x", "_____DROP_TABLE_x_"),
    ],
)
async def test_names_form_no_paths(
    references: SubjectReferenceManager, state: State, user: str, subject: str, name: str
) -> None:
    stored = await references.store_subject_reference(user, subject, encode(drawn()))
    assert stored.file_name == f"{name}{stored.md5[:8]}.png"
    assert await references.get_subject_reference(user, subject) == stored
    files = {path.name for path in state.settings.state_dir.rglob("*") if path.is_file()}
    assert files == {stored.object, stored.thumbnail}


async def test_pages_continue_at_the_cursor(references: SubjectReferenceManager) -> None:
    made = [await references.store_subject_reference("ada", f"s{n % 2}", encode(drawn(size=32 + n))) for n in range(5)]
    first = await references.page("ada", limit=2)
    assert list(first.items) == [made[4], made[3]]
    await references.delete("ada", made[2].id)  # changes between pages neither repeat nor hide rows
    second = await references.page("ada", cursor=first.next_cursor, limit=2)
    assert list(second.items) == [made[1], made[0]]
    assert second.next_cursor is None
    assert [one.subject_name for one in (await references.page("ada", "s1")).items] == ["s1", "s1"]
    assert (await references.page("bob")).items == []


@pytest.mark.parametrize("cursor", ["", "x", "????", "MQ" * 40, "LTE", "狐", "OTk5OTk5OTk5OTk5OTk5OTk5OTk"])
async def test_invalid_cursors_are_refused(references: SubjectReferenceManager, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await references.page("ada", cursor=cursor)
    assert caught.value.field == "cursor"


@pytest.mark.parametrize("limit", [0, 101])
async def test_page_size_is_limited(references: SubjectReferenceManager, limit: int) -> None:
    with pytest.raises(InvalidRequest):
        await references.page("ada", limit=limit)


async def test_references_of_other_users_are_not_found(references: SubjectReferenceManager) -> None:
    reference = await references.store_subject_reference("ada", "cat", encode(drawn()))
    for name in (reference.id, "none", "\0"):
        with pytest.raises(NotFound):
            await references.get("bob", name)
        with pytest.raises(NotFound):
            await references.delete("bob", name)
    assert await references.get("ada", reference.id) == reference


async def test_deleted_reference_and_its_files_are_gone(references: SubjectReferenceManager, state: State) -> None:
    reference = await references.store_subject_reference("ada", "cat", encode(drawn()))
    other_reference = await references.store_subject_reference("bob", "the same", encode(drawn()))
    assert other_reference.object == reference.object
    await references.delete("ada", reference.id)
    with pytest.raises(NotFound):
        await references.delete("ada", reference.id)
    await _delete_unused_objects(state)
    assert await state.objects.get(other_reference.object)
    await references.delete("bob", other_reference.id)
    await _delete_unused_objects(state)
    with pytest.raises(NotFound):
        await state.objects.get(other_reference.object)


async def _delete_unused_objects(state: State) -> None:
    async with state.database.write() as connection:
        await connection.execute(sa.update(objects).values(touched_at=utc_now() - timedelta(days=2)))
    await state.objects.delete_unused(timedelta(days=1))


async def test_references_per_user_are_limited(references: SubjectReferenceManager, state: State) -> None:
    """Also with concurrent uploads."""
    uploads = [references.store_subject_reference("ada", "cat", encode(drawn(size=32 + n))) for n in range(9)]
    outcomes = await asyncio.gather(*uploads, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(outcome) for outcome in refused] == [Conflict] * 4
    async with state.database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(subject_references)) == 5
    await references.store_subject_reference("bob", "cat", encode(drawn()))
    await references.delete("ada", (await references.page("ada")).items[0].id)
    await references.store_subject_reference("ada", "cat", encode(drawn()))


@pytest.mark.parametrize("name", sorted(REFUSED))
async def test_invalid_pictures_are_refused(references: SubjectReferenceManager, state: State, name: str) -> None:
    with pytest.raises(AtelierError) as caught:
        await references.store_subject_reference("ada", "cat", REFUSED[name])
    assert 400 <= caught.value.status < 500
    assert caught.value.field == "image"
    assert not (state.settings.state_dir / "objects").exists() or not any(
        (state.settings.state_dir / "objects").rglob("*.png")
    )


@pytest.mark.parametrize("name", sorted(ACCEPTED))
async def test_unusual_pictures_are_stored(references: SubjectReferenceManager, state: State, name: str) -> None:
    stored = await references.store_subject_reference("ada", name, ACCEPTED[name])
    assert Image.open(io.BytesIO(await state.objects.get(stored.object))).format == "PNG"


async def test_picture_limits_of_the_site_apply(database: Database, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, vectorizer={"image": {"max_side_px": 63}})  # type: ignore[arg-type]
    state = State(database, Objects(settings, database), settings)
    with pytest.raises(TooLarge):
        await SubjectReferenceManager(state).store_subject_reference("ada", "cat", encode(drawn(size=64)))
