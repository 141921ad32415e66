"""JSON objects as bodies of requests."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from fastapi import Request

from serve.api.http.bodies import read_body
from serve.errors import InvalidRequest, TooLarge
from serve.settings import LimitsSettings

MAX_GROUPS = 1_000_000
"""Lists and objects of one body: an image nested by rows and pixels has fewer, and more would take seconds to read."""


async def read_json(request: Request, limits: LimitsSettings) -> dict[str, Any]:
    """The object that the body is. NaN and Infinity are read, so that who looks at a value can name its field."""
    return parse_json(await read_body(request, limits), named_constants=True)


def parse_json(text: bytes, *, named_constants: bool = False) -> dict[str, Any]:
    """The JSON object in ``text``. A name given twice is refused, as are NaN and Infinity, which are not JSON."""
    if text.count(b"[") + text.count(b"{") > MAX_GROUPS:
        raise TooLarge(f"the body has more than {MAX_GROUPS} lists and objects; send tensors as binary data")
    constant = float if named_constants else _refuse_constant
    try:
        document = json.loads(text, parse_constant=constant, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not valid JSON") from None
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise InvalidRequest("an object of the body names a member twice")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
