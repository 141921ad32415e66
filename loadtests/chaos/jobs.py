"""Jobs with known results: added under a key, followed to their end, their events counted."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from loadtests.chaos.client import ATTEMPT_S, Seen, attempt, of_http
from loadtests.chaos.known import PROMPT, STEPS, Known, as_pixels
from loadtests.chaos.ledger import FINAL, Attempt, Entry, Ledger, Saw

DOOR = "job"
PATIENCE_S = 120.0
POLL_S = 0.3
OVER = ("completed", "failed", "cancelled")


@dataclass
class Jobs:
    """``keys`` by job: what its request was sent under, however often."""

    http: httpx.AsyncClient
    known: Known
    ledger: Ledger
    keys: dict[str, str] = field(default_factory=dict)
    keys_sent: set[str] = field(default_factory=set)

    async def one(self, number: int) -> None:
        """A job from its request to its picture, as one entry of the ledger."""
        entry = self.ledger.open(DOOR)
        key, seed = uuid.uuid4().hex, number % 4
        self.keys_sent.add(key)
        try:
            told = await self._until(entry, partial(self._add, key, seed), "id")
            job_id = told["id"]
            self.keys[job_id] = key
            began = time.monotonic()
            job = await self._until(entry, partial(self._get, f"/v1/jobs/{job_id}"), "over")
            entry.attempts.append(Attempt(began, time.monotonic(), *await self._judged(entry, job, seed)))
        except TimeoutError:
            entry.attempts.append(Attempt(entry.began, time.monotonic(), Saw.BROKEN, "the job did not end in time"))
        except Exception as error:  # an answer without what it should have
            wrong = f"{type(error).__name__}: {error}"[:160]
            entry.attempts.append(Attempt(entry.began, time.monotonic(), Saw.WRONG, wrong))
        finally:
            entry.ended = time.monotonic()

    async def _judged(self, entry: Entry, job: dict[str, Any], seed: int) -> tuple[Saw, str]:
        if job["status"] != "completed":
            return Saw.WRONG, f"the job is {job['status']}: {job.get('error')}"
        events = (await self._until(entry, partial(self._get, f"/v1/jobs/{job['id']}/events"), "events"))["events"]
        if [event["id"] for event in events] != list(range(1, len(events) + 1)):
            return Saw.WRONG, "its events have gaps"
        if [event["event"] for event in events].count("completed") != 1:
            return Saw.WRONG, "it did not end once"
        data = await self._until(entry, partial(self._bytes, f"/v1/results/{job['results'][0]['id']}"), "data")
        seen = self.known.judge_picture(seed, as_pixels(data["data"]))
        return seen.saw, seen.told

    async def _until(self, entry: Entry, ask: Any, wanted: str) -> dict[str, Any]:
        """What ``ask`` finds at last, with ``wanted`` in it. What it meets before is in the entry."""
        found: dict[str, Any] = {}

        async def once() -> Seen:
            answer = await ask(found)
            return answer if answer is not None else Seen(Saw.RIGHT)

        while time.monotonic() - entry.began < PATIENCE_S:
            found.clear()
            began = time.monotonic()
            seen = await attempt(once)
            if seen.saw is not Saw.RIGHT:
                entry.attempts.append(Attempt(began, time.monotonic(), seen.saw, seen.told))
                if seen.saw in FINAL:
                    raise TimeoutError
                await asyncio.sleep(min(seen.wait_s if seen.wait_s is not None else POLL_S, ATTEMPT_S))
            elif wanted in found:
                return dict(found)
            else:
                await asyncio.sleep(POLL_S)
        raise TimeoutError

    async def _add(self, key: str, seed: int, found: dict[str, Any]) -> Seen | None:
        asked = {"prompt": PROMPT, "seed": seed, "num_inference_steps": STEPS}
        body = {"kind": "illustrate", "input": asked}
        answer = await self.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
        return self._read(answer, found)

    async def _get(self, path: str, found: dict[str, Any]) -> Seen | None:
        amiss = self._read(await self.http.get(path), found)
        if found.get("status") in OVER:
            found["over"] = True
        return amiss

    async def _bytes(self, path: str, found: dict[str, Any]) -> Seen | None:
        answer = await self.http.get(path)
        found["data"] = answer.content
        return of_http(answer)

    @staticmethod
    def _read(answer: httpx.Response, found: dict[str, Any]) -> Seen | None:
        amiss = of_http(answer)
        if amiss is None:
            found.update(answer.json())
        return amiss
