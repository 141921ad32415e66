"""Extensions of a prompt: networks, as in ``<lora:name:0.8>``, and styles, which are templates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from serve.api.native.presets import CATEGORIES, apply, template_of
from serve.ensembles.illustrator.adapters import LoraUse
from serve.errors import InvalidRequest

MOST_STYLES = 16
_NETWORK = re.compile(r"<(lora|lyco|hypernet):([^:>]{1,256})(?::([^:>]{0,64}))?[^>]{0,256}>")


def without_networks(prompt: str) -> tuple[str, dict[str, LoraUse | None]]:
    """``prompt`` without its networks, and those by name: a LoRA, or None for what is not offered."""
    networks = {match[2]: _lora(match) for match in _NETWORK.finditer(prompt)}
    return (_NETWORK.sub("", prompt).strip() if networks else prompt), networks


def _lora(match: re.Match[str]) -> LoraUse | None:
    """None for a weight that is no number in range, too."""
    try:
        return None if match[1] == "hypernet" else LoraUse(match[2], float(match[3] or 1.0))
    except (ValueError, InvalidRequest):
        return None


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
