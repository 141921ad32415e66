"""Thousands of malformed requests at every endpoint of a site with keys, and the checks that hold meanwhile. `python
-m tests.attacks.malformed --seed 7 --requests 100000` sends more of them than the tests do."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":  # as pytest sets it
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import grpc
from keyed_door import KeyedSite, keyed_site
from thrower import SERVICE, Thrower
from tritonclient.grpc import service_pb2 as pb
from verdicts import Seen, report, resident_mib
from whole_door import calls, sockets

from serve.settings import DatabaseSettings, Settings
from serve.state import State

WARM = 0.4
"""Fraction of the requests after which lazily created objects and caches exist."""
VALID_REQUEST = json.dumps({"prompt": "a fox", "seed": 7, "size": "64x64"}).encode()


async def check_valid_requests(site: KeyedSite, key: str, channel: grpc.aio.Channel) -> None:
    """Valid requests get correct responses."""
    async with site.door(key) as door:
        drawn = await door.post("/v1/images/generations", content=VALID_REQUEST)
        assert drawn.status_code == 200, drawn.text
        assert drawn.json()["data"][0]["b64_json"].startswith("iVBOR")
        assert (await door.get("/v1/me")).json()["user_id"] == "ada"
        job_request = {"kind": "illustrate", "input": {"prompt": "a fox", "seed": 7}}
        job = await door.post("/v1/jobs", json=job_request)
        assert job.status_code in (202, 429), job.text  # the user may have as many jobs as allowed
    request = pb.ModelInferRequest(model_name="plus_one", raw_input_contents=[bytes(16)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    call = channel.unary_unary(f"{SERVICE}/ModelInfer", response_deserializer=pb.ModelInferResponse.FromString)
    inference = await call(request.SerializeToString(), metadata=[("x-api-key", key)])
    assert inference.raw_output_contents[0] == b"\0\0\x80\x3f" * 4


async def attack(state: State, seed: int, count: int) -> Seen:
    """Sends ``most`` requests; raises AssertionError if a valid request fails before or afterwards."""
    async with keyed_site(state) as site, sockets(site) as door, calls(site) as address:
        ada, root = (await site.key("ada")).secret, (await site.key("root", "admin")).secret
        reader, foreign = (await site.key("eve", "read-only")).secret, (await site.key("bob")).secret
        wrong = ada[:-1] + ("a" if ada[-1] != "a" else "b")
        keys = [ada] * 20 + [root] * 6 + [foreign, reader, wrong, "atl_x", "", None, None]
        async with grpc.aio.insecure_channel(address) as channel:
            await check_valid_requests(site, ada, channel)
            thrower = Thrower(site, seed, keys, root, await _known_ids(site, ada), door)
            watching = asyncio.create_task(thrower.watch_health())
            await thrower.throw(int(count * WARM), channel)
            thrower.seen.warm_mib = resident_mib()
            await thrower.throw(count - int(count * WARM), channel)
            thrower.seen.end_mib = resident_mib()
            watching.cancel()
            await check_valid_requests(site, ada, channel)
    return thrower.seen


async def _known_ids(site: KeyedSite, key: str) -> list[str]:
    """Ids of a job, a result and its generation."""
    async with site.door(key) as door:
        job = (await door.post("/v1/jobs", json={"kind": "illustrate", "input": {"prompt": "x"}})).json()["id"]
        url = json.loads(VALID_REQUEST) | {"response_format": "url"}
        result = (await door.post("/v1/images/generations", json=url)).json()["data"][0]["url"]
        generation = (await door.get("/v1/generations")).json()["generations"][0]["id"]
    return [job, result.rpartition("/")[2].partition("?")[0], generation]


async def _main(seed: int, count: int) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        state = await State.open(Settings(state_dir=Path(folder), database=DatabaseSettings()))
        try:
            return await attack(state, seed, count)
        finally:
            await state.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--requests", type=int, default=10_000)
    arguments = parser.parse_args()
    seen = asyncio.run(_main(arguments.seed, arguments.requests))
    print(report(seen, arguments.seed))
    sys.exit(1 if seen.faults else 0)
