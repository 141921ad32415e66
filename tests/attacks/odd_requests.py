"""HTTP requests with one or several errors, for every route of the application's OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes

import odd_values
from fastapi import FastAPI
from odd_values import BREAKS, SQL, TEXTS, TRAVERSAL, Draw

Headers = Sequence[tuple[bytes, bytes]]
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "CONNECT")
UNDOCUMENTED = (
    "/v2/logging",
    "/v2/trace/setting",
    "/v2/systemsharedmemory/status",
    "/",
    "//",
    "/none",
    "/.env",
    "/docs",
)
_QUERY = (
    "limit", "cursor", "user_id", "format", "quality", "width", "size", "download", "ids", "since", "until",
    "signature", "expires", "after", "wait_s", "stream", "status", "kind", "sort", "q", "min_rating", "favorite",
    "action", "version",
)  # fmt: skip
_HEADERS = (
    b"range", b"if-none-match", b"if-range", b"if-modified-since", b"accept", b"accept-encoding", b"prefer",
    b"origin", b"idempotency-key", b"x-request-id", b"last-event-id", b"x-fal-queue-priority", b"host",
    b"x-forwarded-for", b"forwarded", b"inference-header-content-length", b"content-type", b"content-length",
    b"expect", b"cookie", b"x-atelier-peer", b"cache-control", b"transfer-encoding", b"upgrade",
    b"x-request-timeout-seconds", b"user-agent", b"te", b"connection",
)  # fmt: skip
_VALUES = (
    b"", b" ", b"\xff\xfe", b"bytes=0-", b"bytes=-1", b"bytes=9-1", b"bytes=0-0,2-2", b"bytes=" + b"9" * 40 + b"-",
    b"*", b'"', b'W/"a"', b"*/*;q=nan", b"image/svg+xml", b"text/event-stream", b"0", b"-1", b"1e9", b"9" * 30,
    b"x" * 9000, b"wait=0", b"wait=-1", b"wait=nan", b"wait=", b"respond-async", b"null", b"http://[::1",
    b"https://e.vil", b"high", b"application/json", b"application/json; charset=utf-16", b"multipart/form-data",
    b"application/octet-stream", b"127.0.0.1", b"for=127.0.0.1;by=x", b"gzip;q=0, *", b"100-continue", b"chunked",
    b"Thu, 99 Foo 9999", b"a\tb", b"\xe2\x80\xa8",
)  # fmt: skip
_IDS = ("0" * 32, "f" * 32, "F" * 32, "0" * 31, "g" * 32, "1", "-1", "null", "history", "download", "stats", "a" * 3000)
_MODELS = ("vectorize", "illustrate", "plus_one", "mini", "1", "2")
TYPES = ("FP32", "BYTES", "UINT8", "INT64", "BOOL", "FP16", "BF16", "X", "", "fp32", "FP32\0", 7, None)


@dataclass(frozen=True)
class AttackRequest:
    """A request; ``path`` as in the request line, with the query."""

    method: str
    path: bytes
    headers: Headers
    body: bytes = b""

    def describe(self) -> str:
        shown = ", ".join(f"{name!r}: {value[:60]!r}" for name, value in self.headers)
        return f"{self.method} {self.path[:200]!r} [{shown}] {self.body[:300]!r}"


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    query: Sequence[str]
    json: Mapping[str, Any] | None
    form: Mapping[str, Any] | None


def inlined(value: Any, schemas: Mapping[str, Any], depth: int = 0) -> Any:
    """``value`` with each ``$ref`` replaced by its schema; a schema that nests deeper than 8 references is empty."""
    if isinstance(value, list):
        return [inlined(one, schemas, depth) for one in value]
    if not isinstance(value, dict):
        return value
    if isinstance(reference := value.get("$ref"), str):
        return inlined(schemas.get(reference.rpartition("/")[2], {}), schemas, depth + 1) if depth < 8 else {}
    return {name: inlined(one, schemas, depth) for name, one in value.items()}


_documents: list[Mapping[str, Any]] = []


def document_of(app: FastAPI) -> Mapping[str, Any]:
    """Made once in a process: it takes a second, and all sites of these tests have the same operations."""
    if not _documents:
        _documents.append(app.openapi())
    return _documents[0]


def routes_of(document: Mapping[str, Any]) -> list[Route]:
    """The operations of an OpenAPI document, with the schemas of their bodies written out."""
    routes = []
    schemas = document.get("components", {}).get("schemas", {})
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = {kind: inlined(content[kind].get("schema"), schemas) for kind in content}
            query = [one["name"] for one in operation.get("parameters", ()) if one.get("in") == "query"]
            json_schema, form_schema = schema.get("application/json"), schema.get("multipart/form-data")
            if json_schema is not None:
                examples = [content["application/json"].get("example"), *json_schema.get("examples", ())]
                json_schema = {**json_schema, "example": next(filter(None, examples), None)}
            routes.append(Route(method.upper(), path, query, json_schema, form_schema))
    return routes


class Requests:
    """``known`` are ids of existing jobs, results and references; it may grow during use."""

    def __init__(self, draw: Draw, document: Mapping[str, Any], known: Sequence[str]) -> None:
        self._draw = draw
        routes = routes_of(document)
        self._routes = routes + 3 * [one for one in routes if one.json or one.form or "infer" in one.path]
        self._known = known

    def generate(self) -> AttackRequest:
        draw = self._draw
        route = draw.choice(self._routes)
        method = draw.choice(METHODS) if draw.random() < 0.06 else route.method
        path = draw.choice(UNDOCUMENTED) if draw.random() < 0.03 else route.path
        headers = [(draw.choice(_HEADERS), self._header()) for _ in range(draw.choice([0, 0, 0, 0, 1, 2]))]
        body, kind = b"", None
        if method not in ("GET", "HEAD") or draw.random() < 0.02:
            kind, body = self._body(route)
        if kind is not None:
            headers.insert(0, (b"content-type", kind))
        if body and draw.random() < 0.06:
            encoding, body = odd_values.packed(draw, body)
            headers.append((b"content-encoding", encoding))
        return AttackRequest(method, self._path(path) + self._query(route), headers, body)

    def _path(self, template: str) -> bytes:
        return re.sub(rb"{[^}]+}", lambda _: self._name(), template.encode())

    def _name(self) -> bytes:
        draw = self._draw
        if draw.random() < 0.4:
            return draw.choice([*self._known, *_MODELS, *_IDS]).encode()
        text = draw.choice([*SQL, *TRAVERSAL, *BREAKS, *TEXTS])[:2000]
        return quote_from_bytes(text.encode(errors="surrogatepass"), safe=draw.choice(["", "/", "/.:;,'()"])).encode()

    def _query(self, route: Route) -> bytes:
        draw = self._draw
        if draw.random() < (0.4 if route.method == "GET" else 0.7):
            return b""
        pairs = []
        for _ in range(draw.choice([1, 1, 2, 5])):
            name = draw.choice(list(route.query) or list(_QUERY)) if draw.random() < 0.8 else draw.choice(_QUERY)
            text = str(draw.choice([*TEXTS, *self._known, 1, 64, "png", "svg", True]))[:1500]
            pairs.append(f"{name}=".encode() + quote_from_bytes(text.encode(errors="surrogatepass")).encode())
        return b"?" + b"&".join(pairs) + draw.choice([b"", b"", b"", b"&", b"&=", b"%", b"&%zz=%ff", b"?"])

    def _header(self) -> bytes:
        draw = self._draw
        if draw.random() < 0.7:
            return draw.choice(_VALUES)
        return bytes(
            draw.choice([draw.randrange(32, 127), draw.randrange(128, 256)]) for _ in range(draw.randrange(30))
        )

    def _body(self, route: Route) -> tuple[bytes | None, bytes]:
        draw = self._draw
        if draw.random() < 0.1:
            return draw.choice([None, b"application/json", b"text/plain"]), draw.choice(odd_values.RAW_JSON)
        if draw.random() < 0.03:
            return b"application/octet-stream", draw.randbytes(draw.randrange(2000))
        if route.form is not None and (route.json is None or draw.random() < 0.4):
            return odd_values.form(draw, list(route.form["properties"]))
        if "/v2/models" in route.path:
            return self._inference()
        if route.json is None:
            return b"application/json", odd_values.json_text(draw, odd_values.spoilt(draw, {}, ["id", "role", "name"]))
        values = dict(route.json.get("example") or odd_values.object_of(draw, route.json))
        if draw.random() < 0.8:
            values = self._spoilt(values, route.json)
        return b"application/json", odd_values.json_text(draw, values)

    def _spoilt(self, values: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
        """Damages a field of the body, or of an object within it."""
        draw = self._draw
        inner = [name for name, one in values.items() if isinstance(one, dict)]
        if inner and draw.random() < 0.6:
            name = draw.choice(inner)
            within = [*values[name], "prompt", "seed", "width", "height", "model", "n", "sampler", "output_format"]
            return {**values, name: odd_values.spoilt(draw, values[name], within)}
        return odd_values.spoilt(draw, values, list(schema.get("properties", {})))

    def _inference(self) -> tuple[bytes | None, bytes]:
        """A request of the open inference protocol with inconsistent tensors."""
        draw = self._draw
        name = draw.choice(["x", "image", "prompt", "text", *TEXTS])
        data = draw.choice(
            [[0.0] * 4, ["a"], [LARGE], [[1, 2], [3]], [], None, "x", [1e400, None], [[[[]]]], [True], [{}]]
        )
        tensor = {"name": name, "datatype": draw.choice(TYPES), "shape": shape(draw), "data": data}
        binary = draw.randbytes(draw.choice([0, 1, 16, 64]))
        if draw.random() < 0.4:
            del tensor["data"]
            tensor["parameters"] = {"binary_data_size": draw.choice([len(binary), 0, -1, 2**40, "16", None, 1.5])}
        values: dict[str, Any] = {
            "inputs": [tensor] * draw.choice([1, 1, 1, 0, 2, 40]),
            "id": draw.choice(["1", "i" * 999, 7]),
        }
        if draw.random() < 0.5:
            values = odd_values.spoilt(draw, values, ["inputs", "outputs", "parameters", "id"])
        if draw.random() < 0.2:
            values = odd_values.spoilt(
                draw, {"prompt": "a fox", "image": "AAAA"}, ["prompt", "image", "seed", "parameters"]
            )
        return draw.choice([b"application/json", None]), odd_values.json_text(draw, values) + binary


LARGE = json.loads("1" + "0" * 300)


def shape(draw: Draw) -> Any:
    sizes = [0, 1, 4, -1, 2**31, 2**62, 2**63 - 1, 10_000]
    return draw.choice(
        [[1, 4], [draw.choice(sizes) for _ in range(draw.randrange(5))], [1] * 70, "4", None, [1.5], [[4]]]
    )
