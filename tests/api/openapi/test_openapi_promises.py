"""The endpoints conform to the OpenAPI document: schemathesis sends valid and invalid requests to every operation.
Requests have the key of a user and of an admin; half of the path parameters name existing objects. Streams are those
of finished jobs, because others do not end."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from openapi_document import DOCUMENT
from programs.long_form import length
from promised_site import PromisedSite, promised_site
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from serve.api.middleware.deadlines import REQUEST_TIMEOUT

pytestmark = pytest.mark.slow


def no_server_error(ctx: Any, response: Any, case: schemathesis.Case) -> bool | None:
    """Except 501 where the document has it (a known feature that is not offered), and 504 for requests with a
    deadline."""
    promised = case.operation.definition.raw["responses"]
    if response.status_code == 501 and "501" in promised:
        return None
    if response.status_code == 504 and REQUEST_TIMEOUT in (case.headers or {}):
        return None
    found: bool | None = not_a_server_error(ctx, response, case)
    return found


CHECKS = [
    no_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    ignored_auth,
]
EXAMPLES = length(2, 60)
"""Examples per operation and key, valid and invalid. More of them find rare failures."""
TIMEOUT_S = 60
MOST_WAIT_S = 0.05
LONGEST = 60_000
"""Length of a URL: the server itself refuses longer ones in plain text, before the application."""

SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
FRAMING = ("content-length", "transfer-encoding", "host", "connection", "expect", "upgrade")
"""Connection headers: the server itself refuses invalid ones in plain text as well."""
ROLES = ("user", "admin")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PromisedSite]:
    with promised_site(tmp_path_factory.mktemp("promised")) as found:
        yield found


def check_operation(site: PromisedSite, label: str, roles: Sequence[str], mode: GenerationMode) -> None:
    """Each request is sent with the key of each of ``roles``: to generate it takes longer than to answer it."""
    operation = OPERATIONS[label]
    names = re.findall(r"\{(\w+)\}", label)

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,  # the same examples each time
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
    def check_case(case: schemathesis.Case, is_known: bool) -> None:
        for name in [one for one in case.headers or {} if one.lower() in FRAMING]:
            del case.headers[name]
        query: Any = case.query
        if isinstance(query, dict) and "wait_s" in query:
            query["wait_s"] = MOST_WAIT_S  # the same outcome, sooner
        for role in roles:
            if is_known and names:
                case.path_parameters = site.known(names, role)
            url = case.as_transport_kwargs(base_url=site.address)["url"]
            assume(len(url) + len(urlencode(query or {})) < LONGEST)
            case.call_and_validate(
                base_url=site.address,
                headers={"Authorization": f"Bearer {site.keys[role]}"},
                checks=CHECKS,
                timeout=TIMEOUT_S,
            )

    with contextlib.suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else contextlib.nullcontext():
        check_case()  # a path without parameters has no invalid requests


def test_every_operation_is_tested() -> None:
    paths = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]
    assert len(OPERATIONS) == len(paths)


@pytest.mark.parametrize("label", OPERATIONS)
def test_valid_requests_conform_to_the_document(site: PromisedSite, label: str) -> None:
    check_operation(site, label, ROLES, GenerationMode.POSITIVE)


@pytest.mark.parametrize("label", OPERATIONS)
def test_invalid_requests_conform_to_the_document(site: PromisedSite, label: str) -> None:
    check_operation(site, label, ["admin"], GenerationMode.NEGATIVE)
