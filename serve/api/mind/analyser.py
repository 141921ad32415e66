"""The prompt analyser of this process."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

from serve.ensembles.prompts.analysis import Analysis, PromptAnalyser
from serve.ensembles.prompts.text_engine import TextEngine
from serve.settings import IllustratorSettings

INLINE_CHARACTERS = 2_000
"""Longer prompts are analysed in a thread: they would delay the other requests of the process."""


_chosen: list[Path | None] = [None]


def choose_engine(settings: IllustratorSettings) -> None:
    """The text engine of this process's analyses, from here on; none where the repository has it not."""
    folder = None if settings.prompt_engine is None else settings.model_repository / settings.prompt_engine
    _chosen[0] = folder if folder is not None and (folder / "1" / "model.onnx").is_file() else None


def analyser() -> PromptAnalyser:
    """That of this process. Raises InvalidRequest for vocabularies that cannot be used, EngineUnavailable."""
    return _opened(_chosen[0])


@cache
def _opened(folder: Path | None) -> PromptAnalyser:
    return PromptAnalyser(engine=None if folder is None else TextEngine(folder))


async def analyse(prompt: str) -> Analysis:
    if len(prompt) <= INLINE_CHARACTERS:
        return analyser().analyse(prompt)
    return await asyncio.to_thread(analyser().analyse, prompt)
