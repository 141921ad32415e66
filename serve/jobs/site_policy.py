"""`SitePolicy`: checks and adjusts every request, from any API, by the site's settings before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from serve.ensembles.requests import IllustrateRequest, JobRequest
from serve.errors import InvalidRequest
from serve.security.moderation.prompt_filter import REFUSE, PromptFilter
from serve.settings import Settings


class SitePolicy:
    """Raises InvalidRequest for invalid moderation rules."""

    def __init__(self, settings: Settings) -> None:
        moderation = settings.moderation
        self._prompt_filter = (
            PromptFilter(moderation) if moderation.policy == REFUSE else None
        )  # other policies act on the pictures
        self._provenance = settings.provenance

    async def apply(self, requests: Sequence[JobRequest]) -> list[JobRequest]:
        """``requests`` with the site's settings for their files. Raises ModerationBlocked, and InvalidRequest for a
        signature (C2PA) where the site does not sign."""
        illustrations = [request for request in requests if isinstance(request, IllustrateRequest)]
        if self._prompt_filter is not None:
            texts = {(text, one.options.moderation): None for one in illustrations for text in one.options.prompts}
            for prompt, moderation in texts:
                await self._prompt_filter.check(prompt, moderation)
        return [self._with_file_settings(one) if isinstance(one, IllustrateRequest) else one for one in requests]

    def _with_file_settings(self, request: IllustrateRequest) -> IllustrateRequest:
        encoding, signing = request.encoding, self._provenance.c2pa
        if encoding.c2pa and signing == "off":
            raise InvalidRequest("pictures are not signed here: provenance.c2pa is off", "c2pa")
        adjusted = replace(encoding, c2pa=encoding.c2pa or signing == "always", mark=self._provenance.mark)
        return request if adjusted == encoding else replace(request, encoding=adjusted)
