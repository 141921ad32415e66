"""What the OpenAPI document promises is what the doors do: schemathesis asks all of it, right and wrong.

It is asked with the key of a user and of an admin, half of the time about things that are there. No operation is left
out; streams are those of jobs that are over, for others would go on until somebody works on them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from illustrator_standin import IllustratorStandIn
from promised_site import PromisedSite, promised_site
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)
from standin import StandIn

from serve.api.app import create_app
from serve.api.middleware.deadlines import REQUEST_TIMEOUT
from serve.settings import AccessSettings, Settings

pytestmark = pytest.mark.slow


def no_server_error(ctx: Any, response: Any, case: schemathesis.Case) -> bool | None:
    """But for 501, where it is promised: something that is known and not offered here; and for 504 when there was
    a deadline."""
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
EXAMPLES = int(os.environ.get("PROMISED_EXAMPLES", "3"))
"""Of each operation, for each key, right and wrong. More of them find what is rare: `make attack` has 60."""
TIMEOUT_S = 20
MOST_WAIT_S = 0.05
LONGEST = 60_000
"""Of an address: longer ones the server itself refuses, in plain text, before there is an application."""

DOCUMENT = create_app(
    StandIn(), Settings(access=AccessSettings(required="on")), illustrator=IllustratorStandIn()
).openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
FRAMING = ("content-length", "transfer-encoding", "host", "connection", "expect", "upgrade")
"""Headers that are the connection's: what is wrong with them, the server itself refuses in plain text as well."""
ROLES = ("user", "admin")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PromisedSite]:
    with promised_site(tmp_path_factory.mktemp("promised")) as found:
        yield found


def asked(site: PromisedSite, label: str, role: str, mode: GenerationMode) -> None:
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
    def ask(case: schemathesis.Case, is_known: bool) -> None:
        if is_known and names:
            case.path_parameters = site.known(names, role)
        for name in [one for one in case.headers or {} if one.lower() in FRAMING]:
            del case.headers[name]
        query: Any = case.query
        if isinstance(query, dict) and "wait_s" in query:
            query["wait_s"] = MOST_WAIT_S  # what happens is the same, sooner
        assume(len(case.as_transport_kwargs(base_url=site.address)["url"]) + len(urlencode(query or {})) < LONGEST)
        case.call_and_validate(
            base_url=site.address,
            headers={"Authorization": f"Bearer {site.keys[role]}"},
            checks=CHECKS,
            timeout=TIMEOUT_S,
        )

    with contextlib.suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else contextlib.nullcontext():
        ask()  # nothing can be wrong about a path without parameters


def test_every_operation_is_asked() -> None:
    paths = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]
    assert len(OPERATIONS) == len(paths)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("label", OPERATIONS)
def test_right_requests_are_answered_as_promised(site: PromisedSite, label: str, role: str) -> None:
    asked(site, label, role, GenerationMode.POSITIVE)


@pytest.mark.parametrize("label", OPERATIONS)
def test_wrong_requests_are_answered_as_promised(site: PromisedSite, label: str) -> None:
    asked(site, label, "admin", GenerationMode.NEGATIVE)
