"""`/v1/me`, and the admin routes: keys, users, the audit log (B-083, C-142)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from keyed_door import CLIENT, KeyedSite, keyed_site

from serve.state import State


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state, access={"cache_s": 0.0}) as opened:
        yield opened


async def test_me_returns_the_key_and_user(site: KeyedSite) -> None:
    made = await site.key("eve", "read-only", name="laptop")
    async with site.door(made.secret) as eve:
        body = (await eve.get("/v1/me")).json()
    assert body == {"user_id": "eve", "role": "read-only", "scopes": ["read"], "key_id": made.key.id, "name": "laptop"}


async def test_key_lifecycle(site: KeyedSite, admin: httpx.AsyncClient) -> None:
    body = {"user_id": "ada", "role": "user", "scopes": ["read"], "name": "laptop", "expires_in_s": 60}
    answer = await admin.post("/api/admin/keys", json=body)
    made = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert (made["user_id"], made["role"], made["scopes"], made["status"]) == ("ada", "user", ["read"], "active")
    async with site.door(made["key"]) as ada:
        assert (await ada.get("/v1/me")).status_code == 200
        listed = (await admin.get("/api/admin/keys", params={"user_id": "ada"})).json()["keys"]
        assert [one["id"] for one in listed] == [made["id"]]
        assert made["key"] not in str(listed)
        assert (await admin.delete(f"/api/admin/keys/{made['id']}")).json()["status"] == "revoked"
        assert (await ada.get("/v1/me")).status_code == 401
    active = (await admin.get("/api/admin/keys", params={"user_id": "ada", "active": "true"})).json()
    assert active["keys"] == []


async def test_users_are_created_changed_and_disabled(site: KeyedSite, admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/api/admin/users", json={"id": "ada", "role": "user"})).status_code == 201
    assert (await admin.post("/api/admin/users", json={"id": "ada"})).status_code == 409
    async with site.door((await site.key("ada")).secret) as ada:
        changed = (await admin.put("/api/admin/users/ada", json={"role": "read-only"})).json()
        assert changed["role"] == "read-only"
        assert (await ada.get("/v1/me")).json()["scopes"] == ["read"]
        await admin.put("/api/admin/users/ada", json={"disabled": True})
        assert (await ada.get("/v1/me")).status_code == 401
        await admin.put("/api/admin/users/ada", json={"disabled": False})
        assert (await ada.get("/v1/me")).status_code == 200
    assert [one["id"] for one in (await admin.get("/api/admin/users")).json()["users"]] == ["ada", "root"]


async def test_audit_log_lists_admin_actions(admin: httpx.AsyncClient) -> None:
    await admin.post("/api/admin/users", json={"id": "ada"})
    await admin.post("/api/admin/lanes/illustrate/pause")
    found = (await admin.get("/api/admin/audit", params={"user_id": "root"})).json()["entries"]
    assert [(one["action"], one["subject"]) for one in found] == [("lane.pause", "illustrate"), ("user.create", "ada")]
    assert all(one["address"] == CLIENT and one["key_id"] for one in found)
    page = (await admin.get("/api/admin/audit", params={"limit": "1"})).json()
    rest = (await admin.get("/api/admin/audit", params={"cursor": page["next_cursor"]})).json()
    assert page["entries"][0]["seq"] > rest["entries"][0]["seq"]
    assert (await admin.get("/api/admin/audit", params={"until": "2020-01-01"})).json()["entries"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "/api/admin/keys", {}, 400, "user_id"),
        ("POST", "/api/admin/keys", {"user_id": "nobody"}, 404, "user_id"),
        ("POST", "/api/admin/keys", {"user_id": "a", "role": "king"}, 400, "role"),
        ("POST", "/api/admin/keys", {"user_id": "a", "role": "user", "scopes": ["admin"]}, 400, "scopes"),
        ("POST", "/api/admin/keys", {"user_id": "a", "role": "user", "scopes": [{}]}, 400, "scopes"),
        ("POST", "/api/admin/keys", {"user_id": "a", "role": "user", "expires_in_s": 0}, 400, "expires_in_s"),
        ("POST", "/api/admin/keys", {"user_id": "a", "role": "user", "expires_in_s": 1e300}, 400, "expires_in_s"),
        ("POST", "/api/admin/keys", {"user_id": "anonymous", "role": "user"}, 400, "user_id"),
        ("POST", "/api/admin/keys", {"user_id": "a", "owner": 1}, 400, "owner"),
        ("PUT", "/api/admin/users/root", {}, 400, "role"),
        ("PUT", "/api/admin/users/nobody", {"role": "user"}, 404, "user_id"),
        ("DELETE", "/api/admin/keys/0000000000000000", None, 404, "key"),
        ("GET", "/api/admin/audit?cursor=x!", None, 400, "cursor"),
        ("GET", "/api/admin/audit?since=soon", None, 400, "since"),
        ("GET", "/api/admin/keys?limit=0", None, 400, "limit"),
    ],
)
async def test_invalid_admin_requests_name_the_field(
    admin: httpx.AsyncClient, method: str, path: str, body: Any, status: int, field: str
) -> None:
    answer = await admin.request(method, path, json=body)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


async def test_audit_log_has_deletions_and_acts_on_other_users(site: KeyedSite, admin: httpx.AsyncClient) -> None:
    fox = {"kind": "illustrate", "input": {"prompt": "a fox", "seed": 7}}
    async with site.door((await site.key("ada")).secret) as ada:
        mine, other = [(await ada.post("/v1/jobs", json=fox)).json()["id"] for _ in range(2)]
        await ada.post(f"/v1/jobs/{mine}/cancel")
        assert (await ada.delete(f"/v1/generations/{mine}")).status_code == 204
    assert (await admin.post(f"/v1/jobs/{other}/cancel")).status_code == 200
    assert (await admin.get(f"/v1/jobs/{other}")).status_code == 200
    found = (await admin.get("/api/admin/audit", params={"limit": "2"})).json()["entries"]
    entries = [(one["user_id"], one["action"], one["subject"], one["details"]) for one in found]
    assert entries == [
        ("root", "job.post", other, {"path": f"/v1/jobs/{other}/cancel"}),
        ("ada", "generation.delete", mine, {"user_id": "ada"}),
    ]
