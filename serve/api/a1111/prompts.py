"""Extensions of a prompt: networks, as in ``<lora:name:0.8>``, and styles, which are templates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from serve.api.native.presets import CATEGORIES, apply, template_of
from serve.errors import InvalidRequest

MOST_STYLES = 16
_NETWORK = re.compile(r"<(?:lora|lyco|hypernet):([^:>]{1,256})[^>]{0,256}>")


def without_networks(prompt: str) -> tuple[str, list[str]]:
    """``prompt`` without its networks, and their names."""
    names = list(dict.fromkeys(match[1] for match in _NETWORK.finditer(prompt)))
    return (_NETWORK.sub("", prompt).strip() if names else prompt), names


def styled(names: Sequence[str], prompt: str, negative_prompt: str) -> tuple[str, str, list[str]]:
    """(prompt, negative prompt, unknown styles). A style is a template of `serve.api.native.presets`."""
    unknown = []
    for name in names:
        try:
            prompt, negative_prompt = apply(template_of(name), prompt, negative_prompt)
        except InvalidRequest:
            unknown.append(name)
    return prompt, negative_prompt, unknown


def styles() -> list[dict[str, Any]]:
    return [
        {"name": f"{category}/{one.name}", "prompt": one.prompt, "negative_prompt": one.negative_prompt}
        for category, templates in CATEGORIES.items()
        for one in templates
    ]
