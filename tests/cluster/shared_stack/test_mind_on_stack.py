"""Prompts, the art director and taste through the whole stack, whatever gateway each request meets."""

from __future__ import annotations

import json

import httpx
import pytest
from whole_stack import Stack

pytestmark = pytest.mark.cluster

USER = "ada-of-the-mind"


def test_conversation_draws_and_feedback_is_learned(stack: Stack) -> None:
    with httpx.Client(base_url=f"http://{stack.http}", timeout=90) as http:
        analysed = http.post("/api/nlp/analyze", json={"prompt": "a red fox, watercolour", "userId": USER}).json()
        assert analysed["served_by"] == "rules"  # this stack's repository has no text engine
        assert analysed["keywords"]["styles"][0]["name"] == "watercolour"
        history = http.get("/api/nlp/history", params={"userId": USER}).json()
        assert [one["id"] for one in history["prompts"]] == [analysed["id"]]

        chat = {"message": "a lighthouse in a storm", "userId": USER, "stream": True}
        events = http.post("/api/llm/chat", json=chat).text.strip().split("\n\n")
        done = json.loads(events[-1].split("data: ")[1])
        action = {"conversationId": done["conversationId"], "actionId": done["action"]["id"], "confirm": True}
        (job,) = http.post("/api/llm/act", json={**action, "userId": USER}).json()["jobIds"]
        for _ in range(60):
            status = http.get(f"/v1/jobs/{job}/events", params={"wait_s": 2}).status_code
            assert status == 200
            drawn = http.get(f"/v1/jobs/{job}").json()
            if drawn["status"] in ("completed", "failed"):
                break
        assert drawn["status"] == "completed", drawn
        said = http.post("/api/feedback/rate", json={"generationId": job, "stars": 5, "userId": USER}).json()
        assert said["reward"] == 1.0
        learned = http.get("/api/preferences", params={"userId": USER}).json()
        assert [arm["score"] for arm in learned["modelPreferences"].values()] == [1.0]
        ranked = http.post("/api/orchestrator/generate", json={"prompt": "a red apple", "count": 1, "steps": 2}).json()
        assert ranked["results"][0]["imageUrl"]
