"""`PromptFilter`: what a site's rules make of a prompt, before anything is drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from serve.observability.metrics.catalogue import MODERATION
from serve.security.moderation.rules import PromptRules
from serve.security.moderation.verdicts import LOW, Finding, blocked, counted
from serve.settings import ModerationSettings

REFUSE = "refuse"
_LONG = 2000
"""Characters from which on a prompt is read beside the event loop."""


class PromptFilter:
    """Raises InvalidRequest for rules that cannot be used. Negative prompts are not looked at: what is named there is
    not drawn, and they are not used at all where guidance would turn them round."""

    def __init__(self, settings: ModerationSettings) -> None:
        self._settings = settings
        self._rules = PromptRules(settings) if settings.policy != "off" and settings.rules else None

    async def check(self, prompt: str, moderation: str | None) -> list[Finding]:
        """What was found. Raises ModerationBlocked where the policy is to refuse it."""
        if self._rules is None:
            return []
        long = len(prompt) >= _LONG
        scores = await asyncio.to_thread(self._rules.find, prompt) if long else self._rules.find(prompt)
        found = counted(self._settings, scores, moderation == LOW)
        if found and self._settings.policy == REFUSE:
            tell(found, REFUSE)
            raise blocked(found)
        return found


def tell(found: Sequence[Finding], action: str) -> None:
    """Counts each category once."""
    for category in {finding.category for finding in found}:
        MODERATION.add(1, category, action)
