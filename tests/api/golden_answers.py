"""Responses to the requests of `golden_requests`, without values that differ from run to run and without prose.
`PYTHONPATH=.:tests python tests/api/golden_answers.py [FOLDER]` records them again in `tests/api/golden/`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import re
import sys
import tempfile
import types
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from golden_requests import VOCABULARIES, Case
from illustrator_standin import IllustratorStandIn
from jobs_standin import Hand
from keyed_door import KeyedSite, keyed_site
from standin import StandIn

from serve.api.app import create_app
from serve.ensembles.illustrator import illustration
from serve.settings import AccessSettings, ArmSettings, DatabaseSettings, ExperimentSettings, FlagSettings, Settings
from serve.state import State

GOLDEN = Path(__file__).parent / "golden"
Answers = dict[str, Any]

_HEADERS = (
    "accept-ranges", "allow", "cache-control", "content-disposition", "content-range", "idempotent-replayed",
    "location", "preference-applied", "retry-after", "www-authenticate", "x-atelier-cache", "x-should-retry",
)  # fmt: skip
_SENTENCES = ("detail", "message", "errors", "error_description")
"""Members of an error body that are prose."""
_VARIES = re.compile(
    r"(_at|At|_s|S|_ms|_ns|^ns|^last|[tT]ime|timings.*|latency.*|created|since|expires|reset|free|used|total)$"
)
_TIMED = ("estimated_s", "position", "timings_s", "timingsS", "used_at")
"""Members that are null or not depending on the time: the last use of a key is written in the background."""
_IDS = re.compile(
    r"(?<![0-9a-f])([0-9a-f]{32}|[0-9a-f]{16})(?![0-9a-f])|(?<=results/)\w+|\batl_[\w-]+|\bk[0-9a-z]{8,}\b"
    r"|(?<=atelier-)[0-9a-f]{8}\b"
)
_LONGEST = 200
_QUEUE = {"max_queued_per_user": 100_000, "lease_s": 600.0}


@contextlib.asynccontextmanager
async def golden_site(folder: Path) -> AsyncIterator[KeyedSite]:
    experiment = ExperimentSettings(arms={"a": ArmSettings(), "b": ArmSettings()})
    settings = Settings(
        database=DatabaseSettings(url=f"sqlite:///{folder}/atelier.db"),
        state_dir=folder / "state",
        flags={"plus_one": FlagSettings()},
        experiments={"plus_one": experiment},
    )
    state = await State.open(settings)
    with mock.patch.object(illustration, "secrets", types.SimpleNamespace(randbelow=lambda below: below - 1)):
        async with keyed_site(state, limits={"max_body_bytes": 200_000}, jobs=_QUEUE) as site:
            yield site
    await state.close()


def golden_document() -> dict[str, Any]:
    settings = Settings(access=AccessSettings(required="on"))
    return create_app(StandIn(), settings, illustrator=IllustratorStandIn()).openapi()


async def answers_of(vocabulary: str, folder: Path) -> Answers:
    """Keyed by request name; brief cases keyed by route and field, then by value."""
    found: Answers = {}
    async with golden_site(folder) as site, contextlib.AsyncExitStack() as stack:
        people = {"user": "ada", "other": "bob", "reader": "eve", "admin": "root"}
        roles = {"user": "user", "other": "user", "reader": "read-only", "admin": "admin"}
        doors = {"none": await stack.enter_async_context(site.door())}
        for role, person in people.items():
            secret = (await site.key(person, roles[role])).secret
            doors[role] = await stack.enter_async_context(site.door(secret))
        saved: dict[str, str] = {}
        for case in VOCABULARIES[vocabulary]():
            if case.method == "WORK":
                await (await Hand.of(site.state)).do_all()
                await (await Hand.of(site.state)).do_all("vectorize")
                continue
            answer = await _send(doors[case.role], case, saved)
            if case.save:
                saved[case.save] = _id_of(answer.json())
            if case.brief:
                group, _, value = case.name.partition("|")
                found.setdefault(group, {})[value] = brief(answer)
            else:
                assert case.name not in found or "queued" in case.name or "{key}" in case.name, case.name
                name = case.name if case.name not in found else f"{case.name} again"
                found[name] = normalised(answer)
    return {name: _merged(one) if _is_brief(one) else one for name, one in found.items()}


async def _send(door: httpx.AsyncClient, case: Case, saved: Mapping[str, str]) -> httpx.Response:
    path, more = case.path, dict(case.more)
    for name, value in saved.items():
        path = path.replace(f"{{{name}}}", value)
        if more.get("params", {}).get("ids") == f"{{{name}}}":
            more["params"] = {"ids": value}
    return await door.request(case.method, path, **more)


def _id_of(document: Mapping[str, Any]) -> str:
    if "id" in document:
        return str(document["id"])
    return httpx.URL(document["image_url"]).path.rpartition("/")[2]


def _is_brief(entry: Mapping[str, Any]) -> bool:
    return "status" not in entry


def _merged(values: Mapping[str, str]) -> dict[str, str]:
    """Response -> the values that produce it, which keeps the file short."""
    merged: dict[str, list[str]] = {}
    for value, answer in values.items():
        merged.setdefault(answer, []).append(value)
    return {answer: " ".join(sorted(several)) for answer, several in merged.items()}


def brief(answer: httpx.Response) -> str:
    """The status, the field of an error, or a digest of the answer."""
    found = normalised(answer)
    if answer.status_code < 400:
        summary = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:6]
    else:
        summary = _field(found["body"])
    return f"{answer.status_code} {summary}".rstrip()


def _field(body: Any) -> str:
    if not isinstance(body, dict):
        return ""
    error = body.get("error")
    if isinstance(error, dict):
        return f"{error.get('param')} {error.get('code')}"
    if "type" in body:
        return f"{body.get('field')} {body['type'].rpartition(':')[2]}"
    return str(error)


def normalised(answer: httpx.Response) -> dict[str, Any]:
    media_type = answer.headers.get("content-type", "")
    headers = {name: _text(answer.headers[name]) for name in _HEADERS if name in answer.headers}
    found: dict[str, Any] = {"status": answer.status_code, "type": media_type}
    if headers:
        found["headers"] = headers
    if "json" in media_type:
        body = answer.json()
        found["body"] = _plain(_error(body) if answer.status_code >= 400 else body)
    elif media_type.startswith("text/event-stream"):
        found["body"] = list(_events(answer.text))
    elif media_type == "application/zip":
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            found["body"] = sorted(_text(name) for name in archive.namelist())
    elif answer.content:
        found["body"] = "<bytes>"
    return found


def _error(body: Any) -> Any:
    """The error without prose. A sentence that begins with a field name is reduced to that name."""
    if not isinstance(body, dict):
        return body
    return {name: _error_value(name, value) for name, value in body.items()}


def _error_value(name: str, value: Any) -> Any:
    if name in _SENTENCES:
        return _subject(value) if isinstance(value, str) else "<sentence>"
    if name == "error" and isinstance(value, str):
        return _subject(value) if not re.fullmatch(r"\w+", value) else value
    return _error(value)


def _subject(sentence: str) -> str:
    """The field name at the beginning of a sentence, for errors without a field member."""
    match = re.match(r"([\w.\[\]-]{1,64}): ", sentence)
    return f"<{match.group(1)}>" if match else "<>"


def _events(text: str) -> Iterator[Any]:
    for block in text.strip().split("\n\n"):
        lines = [line.partition(": ")[::2] for line in block.splitlines()]
        yield {name: _plain(json.loads(value)) if value.startswith("{") else _text(value) for name, value in lines}


def _plain(value: Any, name: str = "") -> Any:
    if name.endswith("ursor") and value:
        return "<cursor>"
    if name in _TIMED or (name == "seed" and _is_drawn(value)):
        return "<>"
    if value is None or isinstance(value, bool):
        return value
    if name and _VARIES.search(name) and not isinstance(value, dict | list):
        return "<>"
    if isinstance(value, dict):
        if _VARIES.search(str(value.get("name", ""))):  # a tensor
            value = value | {"data": "<>"}
        return {_text(own): _plain(one, own) for own, one in value.items()}
    if isinstance(value, list):
        if len(value) > _LONGEST:
            return f"<list of {len(value)}>"
        return [_plain(one) for one in value]
    return _text(value) if isinstance(value, str) else value


def _is_drawn(seed: Any) -> bool:
    """Whether a seed stands for a random one: larger than those of the requests, except the largest possible seed."""
    return isinstance(seed, int) and 10**6 < seed < 2**62


def _text(value: str) -> str:
    if len(value) > _LONGEST:
        return f"<long {value[:16]}>"
    value = re.sub(r"(signature|expires|v)=[\w.-]+", r"\1=<>", value)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)?", "<time>", _IDS.sub("<id>", value))


def openapi_digest(document: Mapping[str, Any]) -> Answers:
    """For each operation: scope, parameters and members of the body (required ones with *), media types, statuses."""
    resolved = _Resolver(document)
    found: Answers = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parameters = [resolved(one) for one in operation.get("parameters", ())]
            names = [f"{one['in']} {one['name']}{'*' * one.get('required', False)}" for one in parameters]
            content = operation.get("requestBody", {}).get("content", {})
            found[f"{method.upper()} {path}"] = {
                "scope": operation.get("x-required-scope"),
                "parameters": ", ".join(sorted(names)),
                "body": {kind: resolved.members(one.get("schema", {})) for kind, one in content.items()},
                "responses": " ".join(operation["responses"]),
                "types": " ".join(sorted(_types(operation["responses"]))),
            }
    return found


def _types(responses: Mapping[str, Any]) -> set[str]:
    """Media types of successful responses."""
    return {kind for status, one in responses.items() if status < "4" for kind in one.get("content", {})}


class _Resolver:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def __call__(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in part:
            name = part["$ref"]
            part = self._document
            for step in name.split("/")[1:]:
                part = part[step]
        return part

    def members(self, schema: Mapping[str, Any]) -> str:
        schema = self(schema)
        required = schema.get("required", ())
        return ", ".join(sorted(f"{name}{'*' * (name in required)}" for name in schema.get("properties", ())))


async def main(folder: Path) -> None:
    write(folder / "openapi.json", openapi_digest(golden_document()))
    for vocabulary in VOCABULARIES:
        with tempfile.TemporaryDirectory() as state:
            found = await answers_of(vocabulary, Path(state))
        write(folder / f"{vocabulary}.json", found)


def write(path: Path, found: Answers) -> None:
    """One line per request."""
    lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(one, separators=(',', ':'))}" for name, one in found.items())
    path.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN))
