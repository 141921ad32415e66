"""Keys and users (B-083, C-142): created, listed, changed and ended; each change is in the audit log."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from access_site import INJECTIONS, ME, SITE, row_of, set_key

from serve.errors import Conflict, Forbidden, InvalidRequest, NotFound
from serve.jobs.worker import maintenance
from serve.security.identity import audit
from serve.security.identity.keys import ACTIVE, EXPIRED, MAX_KEYS_PER_USER, REVOKED, Keys, has_usable_key
from serve.security.identity.roles import LOCAL, ROLES, SCOPES
from serve.security.identity.users import create_user, page_of_users, set_disabled, set_role
from serve.security.signing.secret_store import FILE
from serve.settings import AccessSettings
from serve.state import State, tables
from serve.state.backups.writing import backup
from serve.state.tables import utc_now

HOUR = timedelta(hours=1)


async def actions(state: State) -> list[tuple[str, str | None]]:
    """(action, subject) of each entry, oldest first."""
    page = await audit.page(state.database, audit.Filters(), limit=200)
    return [(entry.action, entry.subject) for entry in reversed(page.items)]


async def test_first_admin_gets_a_key(state: State, keys: Keys) -> None:
    assert not await has_usable_key(state.database)
    made = await keys.create("admin", ME, role="admin", name="laptop")
    assert await has_usable_key(state.database)
    assert (made.role, made.key.user_id, made.key.status) == ("admin", "admin", ACTIVE)
    principal = await keys.authenticate(made.secret)
    assert principal.scopes == frozenset(SCOPES)
    assert (principal.user_id, principal.key_id, principal.name) == ("admin", made.key.id, "laptop")
    assert await actions(state) == [("user.create", "admin"), ("key.create", made.key.id)]


async def test_key_is_stored_only_as_a_hash(state: State, keys: Keys, settings: object, tmp_path: Path) -> None:
    made = await keys.create("ada", ME, role="user", name="x")
    row = await row_of(state.database, made.key.id)
    assert len(row.secret_hash) == 64
    opened = await Keys.open(state)  # creates the site's secret
    site_secret = (state.settings.state_dir / FILE).read_text().strip()
    await backup(state, str(tmp_path / "backups"))
    await opened.close()
    assert made.secret not in repr(made)
    random_part = made.secret.split("_")[2]
    assert files_containing(tmp_path, random_part) == set()
    assert files_containing(tmp_path, site_secret) == {FILE}
    assert files_containing(tmp_path, SITE[0].decode()) == set()
    assert any(name.endswith(".tar") for name in files_containing(tmp_path, row.secret_hash))


def files_containing(folder: Path, text: str) -> set[str]:
    """The names of the files that contain ``text``."""
    return {file.name for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes()}


@pytest.mark.parametrize("role", ROLES)
async def test_scopes_of_each_role(keys: Keys, role: str) -> None:
    made = await keys.create("ada", ME, role=role)
    principal = await keys.authenticate(made.secret)
    assert {scope for scope in SCOPES if principal.has_scope(scope)} == ROLES[role] == set(made.key.scopes)
    for scope in set(SCOPES) - ROLES[role]:
        with pytest.raises(Forbidden, match=scope):
            principal.require(scope)
        with pytest.raises(InvalidRequest, match="may"):
            await keys.create("ada", ME, scopes=[scope])
    assert not principal.has_scope("everything")


async def test_key_scopes_never_exceed_the_role(state: State, keys: Keys, clock: object) -> None:
    made = await keys.create("ada", ME, role="admin", scopes=["metrics", "read"])
    assert (await keys.authenticate(made.secret)).scopes == {"read", "metrics"}
    await set_role(state.database, "ada", "read-only", ME)
    later = Keys(state, SITE)
    assert (await later.authenticate(made.secret)).scopes == {"read"}
    await set_role(state.database, "ada", "admin", ME)
    await later.close()
    later = Keys(state, SITE)
    assert (await later.authenticate(made.secret)).scopes == {"read", "metrics"}, "and no admin by being promoted"
    await later.close()


def test_local_user_is_no_admin() -> None:
    assert not LOCAL.has_scope("admin")
    assert LOCAL.has_scope("generate")
    assert LOCAL.key_id is None


@pytest.mark.parametrize("scopes", [[], ["draw"], ["read", "draw"], ["READ"], [""]])
async def test_unknown_scopes_are_refused(keys: Keys, scopes: list[str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await keys.create("ada", ME, role="user", scopes=scopes)
    assert refused.value.field == "scopes"


async def test_refused_creation_stores_nothing(state: State, keys: Keys) -> None:
    invalid_arguments = [{"role": "boss"}, {"scopes": ["admin"]}, {"name": "a\nb"}, {"name": "x" * 101}]
    for invalid in invalid_arguments:
        with pytest.raises(InvalidRequest):
            await keys.create("ada", ME, **{"role": "user", **invalid})  # type: ignore[arg-type]
    for expires_in in (timedelta(0), -HOUR, timedelta(days=99_999)):
        with pytest.raises(InvalidRequest, match="days"):
            await keys.create("ada", ME, role="user", expires_in=expires_in)
    with pytest.raises(NotFound):
        await keys.create("ada", ME)
    assert (await page_of_users(state.database)).items == []
    assert await actions(state) == []


async def test_sql_and_control_characters_have_no_effect(state: State, keys: Keys) -> None:
    """Each is refused or stored verbatim; the tables still exist afterwards (attack: SQL in every string)."""
    made = await keys.create("ada", ME, role="user")
    for text in INJECTIONS:
        for refused in (
            keys.create(text, ME, role="user"),
            keys.create("eve", ME, role=text),
            keys.create("ada", ME, scopes=[text]),
            keys.revoke(text, ME),
            keys.page(cursor=text),
            set_role(state.database, text, "user", ME),
            set_role(state.database, "ada", text, ME),
            set_disabled(state.database, text, True, ME),
            page_of_users(state.database, cursor=text),
        ):
            with pytest.raises(InvalidRequest):
                await refused
        if text.isprintable() and len(text) <= 100:
            named = await keys.create("ada", ME, name=text)
            assert (await row_of(state.database, named.key.id)).name == text
        else:
            with pytest.raises(InvalidRequest):
                await keys.create("ada", ME, name=text)
    assert (await keys.authenticate(made.secret)).user_id == "ada"
    assert [user.id for user in (await page_of_users(state.database)).items] == ["ada"]


async def test_key_is_revoked_by_id_prefix_or_secret(state: State, keys: Keys) -> None:
    made = [await keys.create("ada", ME, role="user") for _ in range(4)]
    references = (made[0].key.id, made[1].secret, f"atl_{made[2].key.id}", made[3].key.id[:10])
    for one, text in zip(made, references, strict=True):
        assert (await keys.revoke(text, ME)).id == one.key.id
        assert (await row_of(state.database, one.key.id)).revoked_at is not None
    again = await keys.revoke(made[0].key.id, ME)
    assert again.status == REVOKED
    assert [action for action, _ in await actions(state)].count("key.revoke") == 4
    with pytest.raises(NotFound):
        await keys.revoke("0" * 16, ME)


async def test_ambiguous_prefix_revokes_no_key(state: State, keys: Keys) -> None:
    made = await keys.create("ada", ME, role="user")
    twin = made.key.id[:6] + ("0" if made.key.id[6] != "0" else "1") + made.key.id[7:]
    row = dict((await row_of(state.database, made.key.id))._mapping)
    async with state.database.write() as connection:
        await connection.execute(tables.keys.insert().values({**row, "id": twin, "secret_hash": "other"}))
    with pytest.raises(Conflict):
        await keys.revoke(made.key.id[:6], ME)
    assert (await keys.authenticate(made.secret)).user_id == "ada"
    assert (await keys.revoke(made.key.id[:7], ME)).id == made.key.id


async def test_key_of_another_user_is_not_found(keys: Keys) -> None:
    made = await keys.create("ada", ME, role="user")
    await keys.create("eve", ME, role="user")
    with pytest.raises(NotFound):
        await keys.revoke(made.key.id, ME, user_id="eve")
    assert [key.id for key in (await keys.page("eve")).items] != [made.key.id]
    assert (await keys.revoke(made.key.id, ME, user_id="ada")).id == made.key.id


async def test_anonymous_user_is_not_created(state: State, keys: Keys) -> None:
    with pytest.raises(InvalidRequest, match="everybody"):
        await keys.create("anonymous", ME, role="admin")


async def test_user_has_one_role_and_limited_keys(state: State, keys: Keys) -> None:
    await keys.create("ada", ME, role="user")
    await keys.create("ada", ME, role="user")
    with pytest.raises(Conflict, match="user"):
        await keys.create("ada", ME, role="admin")
    with pytest.raises(Conflict):
        await create_user(state.database, "ada", "user", ME)
    for _ in range(MAX_KEYS_PER_USER - 2):
        last = await keys.create("ada", ME)
    with pytest.raises(Conflict, match="revoke"):
        await keys.create("ada", ME)
    await keys.revoke(last.key.id, ME)
    await keys.create("ada", ME)


async def test_key_pages_are_complete_and_filter_active_keys(state: State, keys: Keys) -> None:
    made = [(await keys.create("ada", ME, role="user")).key.id for _ in range(7)]
    moment = utc_now()
    for key_id in made[:5]:
        await set_key(state.database, key_id, created_at=moment)  # all created at the same time
    ids: list[str] = []
    cursor = None
    while True:
        page = await keys.page(cursor=cursor, limit=2)
        ids += [key.id for key in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(ids) == sorted(made)
    await keys.revoke(made[0], ME)
    await set_key(state.database, made[1], expires_at=utc_now() - HOUR)
    assert {key.id for key in (await keys.page(active=True)).items} == set(made[2:])
    assert {key.status for key in (await keys.page()).items} == {ACTIVE, EXPIRED, REVOKED}
    for limit in (0, 201, -1):
        with pytest.raises(InvalidRequest):
            await keys.page(limit=limit)


async def test_user_pages_and_role_changes(state: State) -> None:
    for name in ("eve", "ada", "bob"):
        await create_user(state.database, name, "user", ME)
    first = await page_of_users(state.database, limit=2)
    assert [user.id for user in first.items] == ["ada", "bob"]
    rest = await page_of_users(state.database, first.next_cursor, limit=2)
    assert [user.id for user in rest.items] == ["eve"]
    assert rest.next_cursor is None
    assert (await set_role(state.database, "eve", "admin", ME)).role == "admin"
    for _ in range(2):
        assert (await set_disabled(state.database, "eve", True, ME)).disabled_at is not None
    assert (await set_disabled(state.database, "eve", False, ME)).disabled_at is None
    user_actions = [action for action, subject in await actions(state) if subject == "eve"]
    assert user_actions == ["user.create", "user.role", "user.disable", "user.enable"]
    for change in (set_role(state.database, "nobody", "user", ME), set_disabled(state.database, "nobody", True, ME)):
        with pytest.raises(NotFound):
            await change


async def test_disabled_user_gets_no_key(state: State, keys: Keys) -> None:
    await keys.create("ada", ME, role="admin")
    await set_disabled(state.database, "ada", True, ME)
    assert not await has_usable_key(state.database)
    with pytest.raises(Conflict, match="disabled"):
        await keys.create("ada", ME)


async def test_concurrent_creation_makes_one_user(state: State, keys: Keys) -> None:
    made = await asyncio.gather(*(keys.create("ada", ME, role="user") for _ in range(12)))
    assert len({one.key.id for one in made}) == 12
    assert [action for action, _ in await actions(state)].count("user.create") == 1


async def test_old_ended_keys_are_deleted(state: State, keys: Keys) -> None:
    made = [(await keys.create("ada", ME, role="user")).key.id for _ in range(4)]
    old = utc_now() - timedelta(days=366)
    await set_key(state.database, made[0], revoked_at=old)
    await set_key(state.database, made[1], expires_at=old)
    await set_key(state.database, made[2], created_at=old, used_at=old)
    await keys.revoke(made[3], ME)
    async with state.database.write() as connection:
        await connection.execute(
            sa.update(tables.audit).where(tables.audit.c.subject == made[0]).values(created_at=old)
        )
    await maintenance.run_due_tasks(state)
    assert {key.id for key in (await keys.page()).items} == set(made[2:])
    assert made[0] not in [subject for _, subject in await actions(state)]


async def test_audit_log_size_is_limited(state: State) -> None:
    site = State(
        state.database,
        state.objects,
        state.settings.model_copy(update={"access": AccessSettings(max_audit_rows=1000)}),
    )
    async with state.database.write() as connection:
        for number in range(1500):
            await audit.record(connection, ME, "test.done", str(number))
    await maintenance.delete_old_audit(site)
    async with state.database.read() as connection:
        left = (await connection.scalars(sa.select(tables.audit.c.subject).order_by(tables.audit.c.seq))).all()
    assert left == [str(number) for number in range(500, 1500)]
