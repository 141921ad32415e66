"""A queue that many users wait in."""

from __future__ import annotations

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.requests import IllustrateRequest
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.queue.insertion import JobOptions
from serve.state import State

_AT_ONCE = 100


def request(prompt: str, seed: int | None = None, num_inference_steps: int | None = None) -> IllustrateRequest:
    return IllustrateRequest(IllustrateOptions(prompt, seed=seed, num_inference_steps=num_inference_steps))


async def fill_queue(state: State, users: int, each: int) -> list[str]:
    """The ids of ``each`` jobs of every one of ``users``."""
    queue, found = GenerationQueue(state), list[str]()
    for user in range(users):
        for start in range(0, each, _AT_ONCE):
            some = [request(f"fox {user}, number {number}") for number in range(start, min(each, start + _AT_ONCE))]
            found += (await queue.add_batch(some, JobOptions(f"user{user}"))).ids
    return found
