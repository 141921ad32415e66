"""Actions that the art director may propose: typed, checked, and never done before the person confirms them.

An action is read from the fresh answer of the director alone, from a line ``ACTION {json}`` at its end. Stored
messages, prompts and names of files are quoted to the model, and are never searched for actions.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve.ensembles.requests import STORED_ID

Tool = Literal["draw", "vary", "vectorise"]
MAX_ACTION_CHARACTERS = 8_000
_MAX_CALLS = 16
_CALL = re.compile(r"ACTION\s*(\{.*\})\s*\Z", re.DOTALL)
_CONTROL = {code: None for code in (*range(32), 127) if code not in (9, 10)}


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DrawArguments(_Arguments):
    prompt: Annotated[str, Field(min_length=1, max_length=4_000)]
    negative_prompt: Annotated[str, Field(max_length=2_000)] = ""


class VaryArguments(_Arguments):
    generation_id: Annotated[str, Field(pattern=STORED_ID)]
    count: Annotated[int, Field(ge=1, le=4)] = 3


class VectoriseArguments(_Arguments):
    result_id: Annotated[str, Field(pattern=STORED_ID)]


ARGUMENTS: Mapping[str, type[_Arguments]] = {
    "draw": DrawArguments, "vary": VaryArguments, "vectorise": VectoriseArguments,
}  # fmt: skip


@dataclass(frozen=True)
class Action:
    id: str
    tool: str
    arguments: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "tool": self.tool, "arguments": dict(self.arguments), "status": "proposed"}


def action_of(tool: str, arguments: Mapping[str, Any]) -> Action | None:
    """None for an unknown tool, or arguments that it does not take."""
    model = ARGUMENTS.get(tool)
    if model is None:
        return None
    try:
        known = model.model_validate(arguments)
    except ValidationError:
        return None
    return Action(secrets.token_hex(8), tool, known.model_dump())


def without_controls(value: Any) -> Any:
    """``value``, of JSON, without control characters and lone surrogates in its texts: no database keeps them."""
    if isinstance(value, str):
        return value.translate(_CONTROL).encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [without_controls(one) for one in value]
    if isinstance(value, dict):
        return {without_controls(name): without_controls(one) for name, one in value.items()}
    return value


def _last_call(text: str) -> tuple[int, re.Match[str] | None]:
    """The last ACTION that begins a line and is all of the rest, in few passes over ``text``."""
    end = len(text)
    for _ in range(_MAX_CALLS):
        begin = text.rfind("ACTION", 0, end)
        if begin < 0:
            break
        line = text[text.rfind("\n", 0, begin) + 1 : begin]
        if not line.strip():
            return begin, _CALL.match(text, begin)
        end = begin
    return 0, None


def split_action(text: str) -> tuple[str, Action | None]:
    """The answer without its last line, if that is an action; and the action, if it is a valid one."""
    begin, found = _last_call(text)
    if found is None:
        return text.strip(), None
    rest = text[:begin].strip()
    if len(found[1]) > MAX_ACTION_CHARACTERS:
        return rest, None
    try:
        document = without_controls(json.loads(found[1]))
        return rest, action_of(str(document["tool"]), document["arguments"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return rest, None
