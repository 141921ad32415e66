"""Fields and parameters that several of these routes have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serve.api.http.models import RequestModel, Text
from serve.api.http.ownership import MAX_USER, WHOSE

MAX_PROMPT = 10_000


class OwnerQuery(RequestModel):
    user_id: Annotated[Text | None, Field(alias="userId", min_length=1, max_length=MAX_USER, description=WHOSE)] = None
