"""Progress, interrupt and skip at A1111's endpoints (USERS_ASK 2: which progress belongs to which job?)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from drawn_pictures import opened
from illustrator_standin import Gated, IllustratorStandIn
from standin import StandIn

from serve.api.a1111.progress_registry import MAX_USERS, ProgressRegistry
from serve.api.app import create_app
from serve.ensembles.illustrator.service import Progress
from serve.errors import Cancelled
from serve.jobs.direct.service import DirectService
from serve.settings import JobsSettings, Settings
from serve.state import State
from serve.state.tables import generations

TXT2IMG, PROGRESS, INTERRUPT = "/sdapi/v1/txt2img", "/sdapi/v1/progress", "/sdapi/v1/interrupt"
TASK, PENDING = "/internal/progress", "/internal/pending-tasks"
IDLE = {"queued": False, "active": False, "completed": False, "progress": None, "live_preview": None}


class Halting(IllustratorStandIn):
    """Blocks before step ``halt`` of every drawing until ``gate`` opens; ``reached`` counts the blocked drawings."""

    def __init__(self, halt: int) -> None:
        super().__init__()
        self.halt = halt
        self.step_s = 0.005  # longer than the minimum interval of two reports
        self.gate = asyncio.Event()
        self.reached = asyncio.Semaphore(0)

    async def _step(self, step: int) -> None:
        if step == self.halt:
            self.reached.release()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        await super()._step(step)


def client_of(illustrator: IllustratorStandIn) -> httpx.AsyncClient:
    settings = Settings(jobs=JobsSettings(progress_s=0))
    app = create_app(StandIn(), settings, illustrator=illustrator)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60)


@pytest.fixture
def halting() -> Halting:
    return Halting(6)


@pytest.fixture
async def halted(halting: Halting) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(halting) as client:
        yield client


async def get_task(client: httpx.AsyncClient, task_id: str = "task(a)", has: int = -1) -> dict[str, Any]:
    answer = await client.post(TASK, json={"id_task": task_id, "id_live_preview": has})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_progress_of_an_idle_server(studio: httpx.AsyncClient) -> None:
    """What webuiapi and SillyTavern expect of an idle server: no progress, no job."""
    body = (await studio.get(PROGRESS)).json()
    assert (body["progress"], body["eta_relative"], body["current_image"]) == (0.0, 0.0, None)
    assert body["state"] == {
        "skipped": False, "interrupted": False, "stopping_generation": False, "job": "", "job_count": 0,
        "job_timestamp": "0", "job_no": 0, "sampling_step": 0, "sampling_steps": 0,
    }  # fmt: skip
    assert (await get_task(studio)).items() >= {**IDLE, "id_live_preview": -1, "textinfo": "Waiting..."}.items()
    assert (await studio.get(PENDING)).json() == {"size": 0, "tasks": []}
    assert (await studio.post(INTERRUPT)).json() == {}
    assert (await studio.post("/sdapi/v1/skip")).status_code == 200


async def test_progress_with_a_preview(halting: Halting, halted: httpx.AsyncClient) -> None:
    """Five of eight steps are done; previews came after the second and the fourth."""
    drawing = asyncio.create_task(
        halted.post(TXT2IMG, json={"prompt": "fox", "batch_size": 2, "force_task_id": "task(a)"})
    )
    await halting.reached.acquire()
    body = (await halted.get(PROGRESS)).json()
    assert body["progress"] == 10 / 16
    assert body["eta_relative"] > 0
    state = body["state"]
    assert (state["job"], state["job_count"]) == ("task(a)", 1)
    assert (state["sampling_step"], state["sampling_steps"], state["interrupted"]) == (5, 8, False)
    image = opened(body["current_image"])
    assert (image.format, image.size, image.info) == ("PNG", (32, 32), {})
    bare = (await halted.get(PROGRESS, params={"skip_current_image": "true"})).json()
    assert (bare["current_image"], bare["progress"]) == (None, body["progress"])
    of_task = await get_task(halted)
    assert (of_task["active"], of_task["queued"], of_task["completed"]) == (True, False, False)
    assert (of_task["progress"], of_task["id_live_preview"]) == (body["progress"], 4)
    assert of_task["eta"] > 0
    kind, _, data = of_task["live_preview"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert base64.b64decode(data, validate=True).startswith(b"\xff\xd8\xff")
    assert (await get_task(halted, has=4))["live_preview"] is None
    assert (await get_task(halted, "task(b)")).items() >= IDLE.items()
    halting.gate.set()
    assert (await drawing).status_code == 200
    assert (await get_task(halted)).items() >= {**IDLE, "completed": True}.items()
    assert (await halted.get(PROGRESS)).json()["state"]["job_count"] == 0


async def test_previews_can_be_disabled(halting: Halting, halted: httpx.AsyncClient) -> None:
    override = {"live_previews_enable": False}
    drawing = asyncio.create_task(halted.post(TXT2IMG, json={"prompt": "fox", "override_settings": override}))
    await halting.reached.acquire()
    body = (await halted.get(PROGRESS)).json()
    assert (body["progress"], body["current_image"]) == (5 / 8, None)
    assert halting.asked[0].preview_every == 0
    halting.gate.set()
    assert (await drawing).status_code == 200


async def test_queued_requests_are_pending() -> None:
    gated = Gated()
    async with client_of(gated) as client:
        drawings = []
        for task_id in ("task(a)", "task(b)"):
            body = {"prompt": "fox", "force_task_id": task_id}
            drawings.append(asyncio.create_task(client.post(TXT2IMG, json=body)))
            await gated.begun.acquire()
        assert (await client.get(PENDING)).json() == {"size": 2, "tasks": ["task(a)", "task(b)"]}
        progress = await get_task(client, "task(b)")
        assert (progress["queued"], progress["active"], progress["textinfo"]) == (True, False, "Queued...")
        progress = (await client.get(PROGRESS)).json()
        assert (progress["progress"], progress["textinfo"], progress["state"]["job_count"]) == (0.0, "Queued...", 2)
        gated.gate.set()
        assert [answer.status_code for answer in await asyncio.gather(*drawings)] == [200, 200]
        assert (await client.get(PENDING)).json()["size"] == 0


async def test_interrupt_cancels_all_requests_of_the_caller(halting: Halting, halted: httpx.AsyncClient) -> None:
    drawings = [asyncio.create_task(halted.post(TXT2IMG, json={"prompt": "fox"})) for _ in range(2)]
    for _ in drawings:
        await halting.reached.acquire()
    assert (await halted.post(INTERRUPT)).json() == {}
    for answer in await asyncio.gather(*drawings):
        assert (answer.status_code, answer.json()["detail"]) == (499, "Interrupted")
    assert (halting.cancelled, halting.closed) == (2, 2)
    assert (await halted.get(PROGRESS)).json()["state"]["job_count"] == 0
    halting.gate.set()
    assert (await halted.post(TXT2IMG, json={"prompt": "fox"})).status_code == 200


async def test_skip_cancels_the_oldest_request(halting: Halting, halted: httpx.AsyncClient) -> None:
    drawings = []
    for prompt in ("fox", "owl"):
        drawings.append(asyncio.create_task(halted.post(TXT2IMG, json={"prompt": prompt})))
        await halting.reached.acquire()
    assert (await halted.post("/sdapi/v1/skip")).json() is None
    assert (await drawings[0]).status_code == 499
    halting.gate.set()
    assert (await drawings[1]).status_code == 200


async def test_client_disconnect_cancels_the_drawing(halting: Halting, halted: httpx.AsyncClient) -> None:
    drawing = asyncio.create_task(halted.post(TXT2IMG, json={"prompt": "fox"}))
    await halting.reached.acquire()
    drawing.cancel()
    await asyncio.gather(drawing, return_exceptions=True)
    assert (halting.cancelled, halting.closed) == (1, 1)
    assert (await halted.get(PROGRESS)).json()["state"]["job_count"] == 0


async def test_interrupted_request_is_stored_as_cancelled(state: State, halting: Halting) -> None:
    direct = DirectService(state, halting, StandIn(), state.settings)
    app = create_app(StandIn(), state.settings, illustrator=halting, state=state, direct=direct)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://atelier", timeout=60) as client:
        drawing = asyncio.create_task(client.post(TXT2IMG, json={"prompt": "fox"}))
        await halting.reached.acquire()
        await client.post(INTERRUPT)
        assert (await drawing).status_code == 499
    await direct.close()
    async with state.database.read() as connection:
        rows = (await connection.execute(generations.select())).all()
    assert [(row.status, row.error) for row in rows] == [("cancelled", None)]


@pytest.mark.parametrize(
    "body", [{"id_task": 7}, {"id_task": "x" * 257}, {"id_task": "a", "id_live_preview": "b"}, {"live_preview": 2.5}]
)
async def test_invalid_progress_requests_return_400(
    halting: Halting, halted: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    drawing = asyncio.create_task(halted.post(TXT2IMG, json={"prompt": "fox", "force_task_id": "a"}))
    await halting.reached.acquire()
    answer = await halted.post(TASK, json={"id_task": "a", **body})
    assert answer.status_code == 400
    assert answer.json()["error"] == "HTTPException"
    assert (await halted.get(PROGRESS, params={"skip_current_image": "perhaps"})).status_code == 400
    halting.gate.set()
    await drawing


async def test_tasks_are_separate_for_each_user() -> None:
    """A-071: the same task id of two users names two tasks, each visible to its user alone."""
    registry, gate = ProgressRegistry(), asyncio.Event()

    async def drawn(user_id: str, steps: int) -> str:
        with registry.task(user_id, "task(a)", 1) as task:
            task.progressed(Progress(1, steps))
            await task.run(gate.wait())
        return user_id

    drawings = [asyncio.create_task(drawn(user_id, steps)) for user_id, steps in (("ada", 2), ("ben", 4))]
    await asyncio.sleep(0)
    (of_ada,), of_ben = registry.tasks_of("ada"), registry.find("ben", "task(a)")
    assert of_ben is not None
    assert (of_ada.progress, of_ben.progress) == (1 / 2, 1 / 4)
    assert registry.find("cy", "task(a)") is None
    for task in registry.tasks_of("ada"):
        task.interrupt()
    with pytest.raises(Cancelled):
        await drawings[0]
    gate.set()
    assert await drawings[1] == "ben"
    assert [registry.is_over(user_id, "task(a)") for user_id in ("ada", "ben", "cy")] == [True, True, False]


async def test_second_interrupt_does_not_cancel_the_cleanup() -> None:
    registry, began, tidied = ProgressRegistry(), asyncio.Event(), []

    async def work() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            tidied.append(True)

    with registry.task("ada", "task(a)", 1) as task:
        running = asyncio.create_task(task.run(work()))
        await began.wait()
        for _ in range(2):
            task.interrupt()
            await asyncio.sleep(0)
        with pytest.raises(Cancelled, match="Interrupted"):
            await running
    assert tidied == [True]


async def test_progress_registry_is_bounded() -> None:
    registry = ProgressRegistry()
    for index in range(MAX_USERS + 1):
        registry.choose(f"user {index}", {"samples_format": "webp"})
        with registry.task("ada", f"task {index}", 1):
            pass
    assert (registry.chosen_by("user 0"), registry.chosen_by("user 1")) == ({}, {"samples_format": "webp"})
    assert (registry.is_over("ada", "task 0"), registry.is_over("ada", "task 1")) == (False, True)
