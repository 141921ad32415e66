"""The prompt analyser of this process."""

from __future__ import annotations

import asyncio
from functools import cache

from serve.ensembles.prompts.analysis import Analysis, PromptAnalyser

INLINE_CHARACTERS = 2_000
"""Longer prompts are analysed in a thread: they would delay the other requests of the process."""


@cache
def analyser() -> PromptAnalyser:
    """That of this process. Raises InvalidRequest for vocabularies that cannot be used."""
    return PromptAnalyser()


async def analyse(prompt: str) -> Analysis:
    if len(prompt) <= INLINE_CHARACTERS:
        return analyser().analyse(prompt)
    return await asyncio.to_thread(analyser().analyse, prompt)
