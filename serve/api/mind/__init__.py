"""Routes of what understands and learns: prompts (`/api/nlp`), taste, the art director. Begin with `prompts`."""

from __future__ import annotations

from fastapi import APIRouter

from serve.api.mind import director, director_actions, memories, orchestrator, prompts, taste

router = APIRouter()
for _each in (
    prompts.router,
    memories.router,
    taste.router,
    director.router,
    director_actions.router,
    orchestrator.router,
):
    router.include_router(_each)
