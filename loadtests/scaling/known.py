"""Known requests: pictures by seed, whose right answer was seen before. Each is asked until it is answered.

``python -m loadtests.scaling.known URL SECONDS CALLERS`` says ``ASKING`` once the right answers are known, and at the
end each request as a line of JSON. It is a process of its own, so that it can run on a simulated machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import httpx

from loadtests.load.callers import ANEW
from loadtests.scaling.steps import STEPS

SEEDS = 40
ASKING = "asking"
PATIENCE_S = 120.0
"""A request that is not answered right within it is lost."""


@dataclass(frozen=True)
class Request:
    """``began`` and ``ended`` in seconds of the monotonic clock; ``refusals``: answers and silences before the last."""

    began: float
    ended: float
    right: bool
    wrong: bool
    refusals: tuple[str, ...]


@dataclass
class Asked:
    requests: list[Request] = field(default_factory=list)

    @property
    def right(self) -> int:
        return sum(request.right for request in self.requests)

    @property
    def wrong(self) -> int:
        return sum(request.wrong for request in self.requests)

    @property
    def lost(self) -> int:
        return len(self.requests) - self.right - self.wrong

    @property
    def retried(self) -> int:
        """Whose caller had to ask again."""
        return sum(bool(request.refusals) for request in self.requests)

    def recovered_after_s(self, event: float) -> float:
        """From ``event`` until the last request that was then under way, or refused since, was answered."""
        hit = [r.ended for r in self.requests if r.ended > event and (r.began < event or r.refusals)]
        return max(hit, default=event) - event


async def draw(client: httpx.AsyncClient, seed: int) -> httpx.Response:
    body = {"prompt": "red apple", "seed": seed, "size": "64x64", "steps": STEPS, "guidance_scale": 1.0}
    return await client.post("/v1/images/generations", json=body, headers=ANEW)


def digest(answer: httpx.Response) -> str:
    """Of the picture: its metadata tells how long it took."""
    return hashlib.sha256(answer.json()["data"][0]["b64_json"].encode()).hexdigest()


async def expected(url: str, seeds: Sequence[int]) -> dict[int, str]:
    """What each seed draws, when nothing is in the way."""
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
        answers = await asyncio.gather(*(draw(client, seed) for seed in seeds))
    return {seed: digest(answer.raise_for_status()) for seed, answer in zip(seeds, answers, strict=True)}


async def keep_asking(url: str, callers: int, right: dict[int, str], seconds: float) -> Asked:
    """``callers`` in a closed loop, each with its next known request, for ``seconds``; the last are waited for."""
    asked, seeds, until = Asked(), itertools.cycle(right), time.monotonic() + seconds
    limits = httpx.Limits(max_connections=callers)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, limits=limits) as client:
        await asyncio.gather(*(_caller(client, seeds, right, until, asked) for _ in range(callers)))
    return asked


async def _caller(
    client: httpx.AsyncClient, seeds: Iterator[int], right: dict[int, str], until: float, asked: Asked
) -> None:
    while time.monotonic() < until:
        seed = next(seeds)
        asked.requests.append(await _until_answered(client, seed, right[seed]))


async def _until_answered(client: httpx.AsyncClient, seed: int, right: str) -> Request:
    began, refusals = time.monotonic(), list[str]()
    while time.monotonic() - began < PATIENCE_S:
        pause_s = 1.0
        try:
            answer = await draw(client, seed)
        except httpx.HTTPError as error:
            refusals.append(type(error).__name__)
        else:
            if answer.status_code == 200:
                same = digest(answer) == right
                return Request(began, time.monotonic(), same, not same, tuple(refusals))
            refusals.append(str(answer.status_code))
            pause_s = float(answer.headers.get("retry-after", pause_s))
        await asyncio.sleep(pause_s)
    return Request(began, time.monotonic(), False, False, tuple(refusals))


async def main() -> None:
    url, seconds, callers = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    right = await expected(url, range(SEEDS))
    print(ASKING, flush=True)
    for request in (await keep_asking(url, callers, right, seconds)).requests:
        print(json.dumps(asdict(request)))


if __name__ == "__main__":
    asyncio.run(main())
