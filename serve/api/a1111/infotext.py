"""Parser of AUTOMATIC1111's infotext: the prompt, an optional negative prompt, and a line of ``Name: value`` fields.

The names are those of that project's ``parse_generation_parameters``.
"""

from __future__ import annotations

import json
import re

NEGATIVE = "Negative prompt:"
MAX_CHARACTERS = 100_000
"""The rest of a longer text is ignored."""
_FIELD = re.compile(r'\s*(?P<name>\w[\w \-/]*):\s*(?P<value>"(?:\\.|[^\\"])*+"|[^,]*)(?:,|$)', re.DOTALL)
_SIZE = re.compile(r"(\d+)x(\d+)", re.ASCII)
_MIN_FIELDS = 3
"""A last line with fewer fields belongs to the prompt."""


def parsed(text: str) -> dict[str, str]:
    """Values by field name; empty for an empty text. A size becomes two fields, such as ``Size-1`` and ``Size-2``."""
    text = text.strip()[:MAX_CHARACTERS]
    if not text:
        return {}
    *lines, last = text.split("\n")
    fields = _fields(last)
    if len(fields) < _MIN_FIELDS:
        lines, fields = [*lines, last], {}
    cut = next((i for i, line in enumerate(lines) if line.strip().startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[cut:]).strip().removeprefix(NEGATIVE).strip()
    return {"Prompt": "\n".join(lines[:cut]).strip(), "Negative prompt": negative, **fields}


def _fields(line: str) -> dict[str, str]:
    values: dict[str, str] = {}
    at = 0
    while at < len(line):
        field = _FIELD.match(line, at)
        if field is None:  # text between two commas that is no field
            at = line.find(",", at) + 1 or len(line)
            continue
        name, value = field["name"], _unquoted(field["value"].strip())
        size = _SIZE.fullmatch(value)
        values |= {f"{name}-1": size[1], f"{name}-2": size[2]} if size else {name: value}
        at = field.end()
    return values


def _unquoted(value: str) -> str:
    """``value`` without quotes: a value with a comma is quoted."""
    if value[:1] == '"' == value[-1:]:
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value
