"""Jobs with known results: added under a key, followed to their end, their events counted."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from loadtests.chaos.attempts_log import FINAL, Attempt, AttemptLog, AttemptResult, Entry
from loadtests.chaos.client import ATTEMPT_S, AttemptOutcome, attempt, of_http
from loadtests.chaos.expected_answers import PROMPT, STEPS, ExpectedAnswers, as_pixels

DOOR = "job"
PATIENCE_S = 120.0
POLL_S = 0.3
OVER = ("completed", "failed", "cancelled")


@dataclass
class Jobs:
    """``keys`` by job: what its request was sent under, however often."""

    http: httpx.AsyncClient
    known: ExpectedAnswers
    attempts_log: AttemptLog
    keys: dict[str, str] = field(default_factory=dict)
    keys_sent: set[str] = field(default_factory=set)

    async def one(self, number: int) -> None:
        """A job from its request to its picture, as one entry of the ledger."""
        entry = self.attempts_log.open(DOOR)
        key, seed = uuid.uuid4().hex, number % 4
        self.keys_sent.add(key)
        try:
            details = await self._until(entry, partial(self._add, key, seed), "id")
            job_id = details["id"]
            self.keys[job_id] = key
            began = time.monotonic()
            job = await self._until(entry, partial(self._get, f"/v1/jobs/{job_id}"), "over")
            entry.attempts.append(Attempt(began, time.monotonic(), *await self._judged(entry, job, seed)))
        except TimeoutError:
            entry.attempts.append(
                Attempt(entry.began, time.monotonic(), AttemptResult.BROKEN, "the job did not end in time")
            )
        except Exception as error:  # an answer without what it should have
            wrong = f"{type(error).__name__}: {error}"[:160]
            entry.attempts.append(Attempt(entry.began, time.monotonic(), AttemptResult.WRONG, wrong))
        finally:
            entry.ended = time.monotonic()

    async def _judged(self, entry: Entry, job: dict[str, Any], seed: int) -> tuple[AttemptResult, str]:
        if job["status"] != "completed":
            return AttemptResult.WRONG, f"the job is {job['status']}: {job.get('error')}"
        events = (await self._until(entry, partial(self._get, f"/v1/jobs/{job['id']}/events"), "events"))["events"]
        if [event["id"] for event in events] != list(range(1, len(events) + 1)):
            return AttemptResult.WRONG, "its events have gaps"
        if [event["event"] for event in events].count("completed") != 1:
            return AttemptResult.WRONG, "it did not end once"
        data = await self._until(entry, partial(self._bytes, f"/v1/results/{job['results'][0]['id']}"), "data")
        outcome = self.known.judge_picture(seed, as_pixels(data["data"]))
        return outcome.result, outcome.details

    async def _until(self, entry: Entry, send: Any, wanted: str) -> dict[str, Any]:
        """What ``send`` finds at last, with ``wanted`` in it. What it meets before is in the entry."""
        found: dict[str, Any] = {}

        async def once() -> AttemptOutcome:
            answer = await send(found)
            return answer if answer is not None else AttemptOutcome(AttemptResult.RIGHT)

        while time.monotonic() - entry.began < PATIENCE_S:
            found.clear()
            began = time.monotonic()
            outcome = await attempt(once)
            if outcome.result is not AttemptResult.RIGHT:
                entry.attempts.append(Attempt(began, time.monotonic(), outcome.result, outcome.details))
                if outcome.result in FINAL:
                    raise TimeoutError
                await asyncio.sleep(min(outcome.wait_s if outcome.wait_s is not None else POLL_S, ATTEMPT_S))
            elif wanted in found:
                return dict(found)
            else:
                await asyncio.sleep(POLL_S)
        raise TimeoutError

    async def _add(self, key: str, seed: int, found: dict[str, Any]) -> AttemptOutcome | None:
        asked = {"prompt": PROMPT, "seed": seed, "num_inference_steps": STEPS}
        body = {"kind": "illustrate", "input": asked}
        answer = await self.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
        return self._read(answer, found)

    async def _get(self, path: str, found: dict[str, Any]) -> AttemptOutcome | None:
        mismatch = self._read(await self.http.get(path), found)
        if found.get("status") in OVER:
            found["over"] = True
        return mismatch

    async def _bytes(self, path: str, found: dict[str, Any]) -> AttemptOutcome | None:
        answer = await self.http.get(path)
        found["data"] = answer.content
        return of_http(answer)

    @staticmethod
    def _read(answer: httpx.Response, found: dict[str, Any]) -> AttemptOutcome | None:
        mismatch = of_http(answer)
        if mismatch is None:
            found.update(answer.json())
        return mismatch
