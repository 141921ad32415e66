"""AUTOMATIC1111's infotext, read: the prompt, the negative prompt if there is one, a line of facts.

The names are those of that project's ``parse_generation_parameters``.
"""

from __future__ import annotations

import json
import re

NEGATIVE = "Negative prompt:"
LONGEST = 100_000
"""Characters that are read."""
_FACT = re.compile(r'\s*(?P<name>\w[\w \-/]*):\s*(?P<value>"(?:\\.|[^\\"])*+"|[^,]*)(?:,|$)', re.DOTALL)
_SIZE = re.compile(r"(\d+)x(\d+)", re.ASCII)
_FEWEST = 3
"""Facts that make a last line one of facts."""


def parsed(text: str) -> dict[str, str]:
    """By name; empty if ``text`` is. A size is told by its sides, as ``Size-1`` and ``Size-2``."""
    text = text.strip()[:LONGEST]
    if not text:
        return {}
    *lines, last = text.split("\n")
    facts = _facts(last)
    if len(facts) < _FEWEST:
        lines, facts = [*lines, last], {}
    cut = next((i for i, line in enumerate(lines) if line.strip().startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[cut:]).strip().removeprefix(NEGATIVE).strip()
    return {"Prompt": "\n".join(lines[:cut]).strip(), "Negative prompt": negative, **facts}


def _facts(line: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(line):
        fact = _FACT.match(line, at)
        if fact is None:  # what stands between two commas is none
            at = line.find(",", at) + 1 or len(line)
            continue
        name, value = fact["name"], _plain(fact["value"].strip())
        size = _SIZE.fullmatch(value)
        found |= {f"{name}-1": size[1], f"{name}-2": size[2]} if size else {name: value}
        at = fact.end()
    return found


def _plain(value: str) -> str:
    """Without the quotes that a value has which has a comma."""
    if value[:1] == '"' == value[-1:]:
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value
