"""`/openapi.json` describes every operation completely, and `/docs` shows it without external resources."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

import httpx
import jsonschema
import pytest
from illustrator_standin import IllustratorStandIn
from jsonschema import Draft202012Validator
from openapi_document import DOCUMENT, SETTINGS
from openapi_spec_validator import OpenAPIV31SpecValidator
from standin import StandIn

from serve.api.app import create_app
from serve.api.middleware.deadlines import PRIORITY, REQUEST_TIMEOUT, read_context
from serve.api.middleware.scopes import DOCS, OPENAPI, needed
from serve.api.openapi.finish import SCOPE, operations_of
from serve.api.openapi.refusals import OTHERS, TAGS
from serve.errors import InvalidRequest
from serve.security.identity.roles import LOCAL
from serve.settings import AccessSettings, HttpSettings, Settings

OPERATIONS = {f"{method.upper()} {path}": operation for path, method, operation in operations_of(DOCUMENT)}
ERRORS = {
    "Problem": "application/problem+json", "OpenAIError": "application/json", "OpenInferenceError": "application/json",
}  # fmt: skip


def every(check: Callable[[str], None]) -> Callable[[], None]:
    """A test that ``check`` holds for every operation; names all those that fail it."""

    def test() -> None:
        failed = {}
        for name in OPERATIONS:
            try:
                check(name)
            except Exception as error:
                failed[name] = str(error)
        assert failed == {}

    test.__name__, test.__doc__ = check.__name__, check.__doc__
    return test


def resolved(found: Mapping[str, Any]) -> Mapping[str, Any]:
    for part in found.get("$ref", "").split("/")[1:]:
        found = (DOCUMENT if part == "components" else found)[part]
    return found


def contents(operation: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(where, media type, content) of the body and the responses."""
    for where, body in (("body", operation.get("requestBody", {})), *operation["responses"].items()):
        for media_type, content in resolved(body).get("content", {}).items():
            yield where, media_type, content


def is_bytes(content: Mapping[str, Any]) -> bool:
    return content["schema"].get("format") == "binary"


def test_document_is_valid_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []
    assert {"title", "version", "summary", "description", "license"} <= DOCUMENT["info"].keys()
    assert DOCUMENT["info"]["license"]["identifier"] == "Apache-2.0"
    assert len(OPERATIONS) > 80


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9_]+", one) for one in ids)


def test_models_of_different_modules_have_different_names() -> None:
    """FastAPI writes the module into the names of models that share one, and clients' types change with it."""
    assert [name for name in DOCUMENT["components"]["schemas"] if "__" in name] == []


@every
def test_operation_has_summary_and_description(name: str) -> None:
    operation = OPERATIONS[name]
    assert 3 <= len(operation.get("summary", "")) <= 120, "write a docstring; its first sentence is the summary"
    assert operation.get("description"), "write a docstring"
    (tag,) = operation["tags"]
    assert tag != OTHERS, "name its path in serve.api.openapi.refusals"
    assert tag in TAGS
    assert {"name": tag, "description": TAGS[tag]} in DOCUMENT["tags"]


@every
def test_operation_has_scope_and_security(name: str) -> None:
    method, path = name.split(" ", 1)
    operation, scope = OPERATIONS[name], needed(method, path)
    assert operation.get(SCOPE) == scope
    if scope is None:
        assert operation["security"] == []
        return
    assert f"`{scope}`" in operation["description"]
    assert {"bearer", "api_key", "basic"} <= {way for one in operation["security"] for way in one}
    assert all(one for one in operation["security"]), "the site needs keys"
    assert set().union(*operation["security"]) <= DOCUMENT["components"]["securitySchemes"].keys()


@every
def test_operation_describes_its_parameters_and_body(name: str) -> None:
    method, path = name.split(" ", 1)
    operation = OPERATIONS[name]
    parameters = [resolved(one) for one in operation.get("parameters", ())]
    described = {(one["in"], one["name"]) for one in parameters}
    urgency = {("header", REQUEST_TIMEOUT), ("header", PRIORITY)}
    assert urgency & described == (urgency if needed(method, path) is not None else set()), (
        "every route except probes has them"
    )
    assert {("path", part) for part in re.findall(r"\{(\w+)\}", path)} <= described
    for parameter in parameters:
        assert parameter.get("description"), f"say what {parameter['name']} is"
        assert parameter["schema"], parameter["name"]
    body = operation.get("requestBody")
    if body is not None:
        assert method in ("POST", "PUT", "PATCH")
        assert body["content"], "describe the body"


@every
def test_operation_describes_its_responses(name: str) -> None:
    operation = OPERATIONS[name]
    good = {status: one for status, one in operation["responses"].items() if status.startswith("2")}
    assert good
    for status, response in good.items():
        assert response["description"] not in ("", "Successful Response"), f"say what {status} is, in openapi_extra"
        assert "X-Request-Id" in response["headers"]
        if needed(*name.split(" ", 1)) is not None:
            assert {"RateLimit", "RateLimit-Policy", "RateLimit-Remaining"} <= response["headers"].keys()


@every
def test_operation_describes_its_errors(name: str) -> None:
    method, path = name.split(" ", 1)
    responses = OPERATIONS[name]["responses"]
    assert "4XX" not in responses
    assert {"500", "503"} <= responses.keys(), "include its router with serve.api.http.problems.described()"
    if needed(method, path) is not None:
        assert {"401", "403", "429"} <= responses.keys()
    if "{" in path:
        assert "404" in responses
    if "requestBody" in OPERATIONS[name]:
        assert {"400", "408", "413", "415"} <= responses.keys()
    for status, response in responses.items():
        if status >= "4" and "$ref" in response:
            found = resolved(response)
            (content,) = found["content"].values()
            assert resolved(content["schema"])["required"]
            assert "X-Request-Id" in found["headers"]
            assert ("Retry-After" in found["headers"]) >= (status in ("429", "503", "504"))


@every
def test_examples_match_their_schemas(name: str) -> None:
    operation = OPERATIONS[name]
    for where, media_type, content in contents(operation):
        if is_bytes(content):
            continue
        assert "example" in content, f"{where} {media_type}: say what is in it, or give an example"
        schema = {**content["schema"], "components": DOCUMENT["components"]}
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(content["example"])
    for parameter in map(resolved, operation.get("parameters", ())):
        if "example" in parameter:
            jsonschema.validate(parameter["example"], parameter["schema"], Draft202012Validator)


def test_timeout_and_priority_schemas_match_the_parser() -> None:
    def taken(name: str, value: Any) -> None:
        read_context([(name.lower().encode(), str(value).encode())], 0.0, LOCAL, SETTINGS.gateway)

    schemas = {name: DOCUMENT["components"]["parameters"][name]["schema"] for name in (REQUEST_TIMEOUT, PRIORITY)}
    least, most = schemas[REQUEST_TIMEOUT]["minimum"], schemas[REQUEST_TIMEOUT]["maximum"]
    for value in (least, most, least + 1e-17, most / 7):
        taken(REQUEST_TIMEOUT, value)
    for value in (0, -least, most + 1, "soon"):
        with pytest.raises(InvalidRequest):
            taken(REQUEST_TIMEOUT, value)
    for value in schemas[PRIORITY]["enum"]:
        taken(PRIORITY, value)
    with pytest.raises(InvalidRequest, match=", ".join(schemas[PRIORITY]["enum"])):
        taken(PRIORITY, "urgent")


def test_errors_have_the_schema_of_their_vocabulary() -> None:
    kinds = {
        "GET /v1/models": "OpenAIError", "POST /v1/images/generations": "OpenAIError", "GET /v1/jobs": "Problem",
        "POST /v2/models/{name}/infer": "OpenInferenceError", "POST /api/convert": "Problem", "GET /v1/me": "Problem",
    }  # fmt: skip
    for name, kind in kinds.items():
        assert OPERATIONS[name]["responses"]["403"] == {"$ref": f"#/components/responses/{kind}403"}
        (content,) = DOCUMENT["components"]["responses"][f"{kind}403"]["content"].items()
        assert content[0] == ERRORS[kind]
    problem = DOCUMENT["components"]["responses"]["Problem429"]["content"]["application/problem+json"]["example"]
    assert problem["type"] == "urn:atelier:problem:too-many-requests"
    assert problem["status"] == 429


def test_undescribed_route_gets_no_invented_description() -> None:
    app = create_app(StandIn(), SETTINGS)

    @app.get("/new/{thing}")
    async def look(thing: str) -> dict[str, Any]:
        return {}

    operation = app.openapi()["paths"]["/new/{thing}"]["get"]
    assert operation["operationId"] == "get_new_thing"
    assert (operation["tags"], operation[SCOPE]) == ([OTHERS], "read")
    assert "summary" not in operation
    assert operation["responses"]["200"]["description"] == "Successful Response"
    assert "example" not in operation["responses"]["200"]["content"]["application/json"]
    assert "4XX" not in operation["responses"]


async def get_path(settings: Settings, path: str, **more: Any) -> httpx.Response:
    app = create_app(StandIn(), settings, illustrator=IllustratorStandIn())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://atelier") as client:
        return await client.get(path, **more)


async def test_document_has_public_url_and_security_of_the_site() -> None:
    public = Settings(http=HttpSettings(public_url="https://art.example/here/"))
    document = (await get_path(public, OPENAPI)).json()
    assert document["servers"] == [{"url": "https://art.example/here"}]
    document = (await get_path(Settings(access=AccessSettings(required="off")), OPENAPI)).json()
    assert {} in document["paths"]["/v1/jobs"]["post"]["security"]
    assert {} not in document["paths"]["/api/admin/keys"]["get"]["security"]
    assert "servers" not in DOCUMENT


async def test_document_is_built_once_and_revalidated() -> None:
    first = await get_path(SETTINGS, OPENAPI)
    assert first.headers["content-type"] == "application/json"
    assert first.json() == json.loads(json.dumps(DOCUMENT))
    again = await get_path(SETTINGS, OPENAPI, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


class Page(HTMLParser):
    """URLs that the page loads, and its inline scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"
        self.loads += [value or "" for name, value in attrs if name == "src" or (name == "href" and tag == "link")]
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)


async def test_docs_page_loads_only_its_own_files() -> None:
    answer = await get_path(SETTINGS, DOCS)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(one.strip().partition(" ")[::2] for one in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    page = Page()
    page.feed(answer.text)
    assert page.inline == []
    assert sorted(page.loads) == [f"{DOCS}/{name}" for name in (
        "favicon.png", "start.js", "swagger-ui-bundle.js", "swagger-ui.css",
    )]  # fmt: skip
    for path in page.loads:
        file = await get_path(SETTINGS, path)
        assert file.status_code == 200
        assert len(file.content) > 100
        assert file.headers["x-content-type-options"] == "nosniff"
        assert file.headers["cache-control"] == "no-cache"
        known = await get_path(SETTINGS, path, headers={"If-None-Match": file.headers["etag"]})
        assert known.status_code == 304
    start = (await get_path(SETTINGS, f"{DOCS}/start.js")).text
    assert f'"{OPENAPI}"' in start
    assert "://" not in start


@pytest.mark.parametrize(
    "path", ["/docs/", "/docs/core.py", "/docs/../openapi.json", "/docs/%2e%2e/rights.py", "/docs/redoc.standalone.js"]
)
def test_other_files_of_the_docs_page_need_a_key(path: str) -> None:
    assert needed("GET", path) is not None
