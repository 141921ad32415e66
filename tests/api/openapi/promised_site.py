"""A site with keys on a real socket, in an event loop of its own, which creates the objects that path parameters
name."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import sqlalchemy as sa
import uvicorn
from jobs_standin import Hand
from keyed_door import KeyedSite, keyed_site
from pictures import drawn, encode
from waiting import until

from serve.settings import ArmSettings, DatabaseSettings, ExperimentSettings, FlagSettings, Settings
from serve.state import State
from serve.state.tables import inputs

T = TypeVar("T")
INPUT = "object_name"
NAME = "plus_one"
"""A model, a flag and an experiment: paths name all three by the same parameter."""
DRAWING = {"prompt": "red apple", "output_format": "png", "num_inference_steps": 2}


class PromisedSite:
    """``keys`` by role. Methods are called from other threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop, site: KeyedSite, keys: dict[str, str]) -> None:
        self._loop = loop
        self._site = site
        self.keys = keys
        self.address = ""
        self._made = 0

    def known(self, names: list[str], role: str) -> dict[str, str]:
        """Values for the path parameters ``names``: objects created for this call, owned by the user with ``role``."""
        found = {name: self._do(_MAKERS[name](self, role)) for name in names if name != INPUT}
        if INPUT in names:  # of a generation, which it names with it
            found["generation_id"], found[INPUT] = self._do(self.input(role))
        return found

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(60)

    async def _post(self, role: str, path: str, status: int, **more: Any) -> dict[str, Any]:
        async with self._site.door(self.keys[role]) as door:
            answer: httpx.Response = await door.post(path, **more)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    async def job(self, role: str) -> str:
        """A completed job: a stream of its events ends."""
        made = await self._post(role, "/v1/jobs", 202, json={"kind": "illustrate", "input": DRAWING})
        await self._do_all()
        return str(made["id"])

    async def input(self, role: str) -> tuple[str, str]:
        """A generation and the name of the picture that it is made from."""
        picture = f"data:image/png;base64,{base64.b64encode(encode(drawn())).decode()}"
        made = await self._post(role, "/v1/jobs", 202, json={"kind": "vectorize", "input": {"image": picture}})
        query = sa.select(inputs.c.object).where(inputs.c.generation_id == made["id"])
        async with self._site.state.database.read() as connection:
            return str(made["id"]), str(await connection.scalar(query))

    async def batch(self, role: str) -> str:
        body = {"kind": "illustrate", "input": DRAWING, "count": 2}
        made = await self._post(role, "/v1/jobs", 202, json=body)
        await self._do_all()
        return str(made["id"])

    async def _do_all(self) -> None:
        await (await Hand.of(self._site.state)).do_all()  # a new one each time: an idle worker counts as lost

    async def result(self, role: str) -> str:
        made = await self._post(role, "/generate", 200, json=DRAWING)
        return str(httpx.URL(made["image_url"]).path.rpartition("/")[2])

    async def reference(self, role: str) -> str:
        files, data = {"image": ("bella.png", encode(drawn()))}, {"subject_name": "Bella"}
        return str((await self._post(role, "/api/references", 201, files=files, data=data))["id"])

    async def prompt(self, role: str) -> str:
        return str((await self._post(role, "/api/nlp/analyze", 200, json={"prompt": "red apple"}))["id"])

    async def memory(self, role: str) -> str:
        body = {"title": "the fox", "content": "red, in the snow"}
        return str((await self._post(role, "/api/memories", 201, json=body))["id"])

    async def conversation(self, role: str) -> str:
        body = {"message": "a red fox in the snow"}
        return str((await self._post(role, "/api/llm/chat", 200, json=body))["conversationId"])

    async def user(self, _: str) -> str:
        self._made += 1
        return (await self._site.key(f"spare-{self._made}")).key.user_id

    async def key(self, _: str) -> str:
        self._made += 1
        return (await self._site.key(f"spare-{self._made}")).key.id


def _always(value: str) -> Callable[[PromisedSite, str], Coroutine[Any, Any, str]]:
    async def make(_: PromisedSite, __: str) -> str:
        return value

    return make


_MAKERS: dict[str, Callable[[PromisedSite, str], Coroutine[Any, Any, str]]] = {
    "job_id": PromisedSite.job,
    "batch_id": PromisedSite.batch,
    "generation_id": PromisedSite.job,
    "result_id": PromisedSite.result,
    "reference_id": PromisedSite.reference,
    "cohort": _always("all"),
    "conversation_id": PromisedSite.conversation,
    "prompt_id": PromisedSite.prompt,
    "memory_id": PromisedSite.memory,
    "user_id": PromisedSite.user,
    "key_id": PromisedSite.key,
    "engine": _always("mini_unet"),
    "lane": _always("illustrate"),
    "model": _always("mini"),
    "name": _always(NAME),
    "version": _always("1"),
    "style": _always("swirls"),
}


@contextlib.contextmanager
def promised_site(folder: Path) -> Iterator[PromisedSite]:
    """The site, served by a thread."""
    ready: list[PromisedSite] = []
    begun, ending = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_serve(folder, ready, loops, begun, ending))
        begun.set()

    thread = threading.Thread(target=run, name="promised site")
    thread.start()
    assert begun.wait(60)
    assert ready, "it did not start"
    try:
        yield ready[0]
    finally:
        loops[0].call_soon_threadsafe(ending.set)
        thread.join(60)


async def _serve(
    folder: Path,
    ready: list[PromisedSite],
    loops: list[asyncio.AbstractEventLoop],
    begun: threading.Event,
    ending: asyncio.Event,
) -> None:
    database = DatabaseSettings(url=f"sqlite:///{folder}/atelier.db")
    experiment = ExperimentSettings(arms={"a": ArmSettings(), "b": ArmSettings()})
    state = await State.open(
        Settings(
            database=database, state_dir=folder / "state", flags={NAME: FlagSettings()}, experiments={NAME: experiment}
        )
    )
    async with keyed_site(state) as site:
        keys = {role: (await site.key(name, role=role)).secret for role, name in (("user", "ada"), ("admin", "root"))}
        server = uvicorn.Server(uvicorn.Config(site.whole, port=0, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started or serving.done(), most_s=60)
        found = PromisedSite(asyncio.get_running_loop(), site, keys)
        port = server.servers[0].sockets[0].getsockname()[1]
        found.address = f"http://127.0.0.1:{port}"
        loops.append(asyncio.get_running_loop())
        ready.append(found)
        begun.set()
        await ending.wait()
        server.should_exit = True
        await serving
    await state.close()
