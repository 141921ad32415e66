"""`SitePolicy`: what a site takes requests on, whatever door they came by, before anything is done for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from serve.ensembles.requests import IllustrateRequest, JobRequest
from serve.errors import InvalidRequest
from serve.security.moderation.prompt_filter import REFUSE, PromptFilter
from serve.settings import Settings


class SitePolicy:
    """Raises InvalidRequest for moderation's rules that cannot be used."""

    def __init__(self, settings: Settings) -> None:
        own = settings.moderation
        self._gate = PromptFilter(own) if own.policy == REFUSE else None  # what else is done, is done with the pictures
        self._provenance = settings.provenance

    async def accepted(self, requests: Sequence[JobRequest]) -> list[JobRequest]:
        """``requests``, with what the site decides about their files. Raises ModerationBlocked, and InvalidRequest
        where pictures are not signed."""
        drawings = [request for request in requests if isinstance(request, IllustrateRequest)]
        if self._gate is not None:
            for prompt, moderation in {(one.prompt, one.options.moderation): None for one in drawings}:
                await self._gate.check(prompt, moderation)
        return [self._filed(one) if isinstance(one, IllustrateRequest) else one for one in requests]

    def _filed(self, request: IllustrateRequest) -> IllustrateRequest:
        encoding, signs = request.encoding, self._provenance.c2pa
        if encoding.c2pa and signs == "off":
            raise InvalidRequest("pictures are not signed here: provenance.c2pa is off", "c2pa")
        decided = replace(encoding, c2pa=encoding.c2pa or signs == "always", mark=self._provenance.mark)
        return request if decided == encoding else replace(request, encoding=decided)
