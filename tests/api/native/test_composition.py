"""Regions and subjects over the native routes, jobs and the model `illustrate`, with the real Illustrator on engines
that are functions; the layout's preview; what is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from drawing_requests import drawing_illustrator, drawn, pixels_at, url
from drawn_pictures import opened
from keyed_door import KeyedSite
from pictures import REFUSED, encode
from PIL import Image
from standin import StandIn

from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.requests import IllustrateRequest
from serve.jobs.worker.execution import JobExecutor
from serve.settings import DatabaseSettings
from tests.jobs_standin import Hand

DIFFUSION, ILLUSTRATIONS, JOBS = "/api/diffusion/generate", "/api/illustrations/generate", "/v1/jobs"
PREVIEW = "/api/illustrations/preview"
LEFT = {"left": 0, "top": 0, "width": 0.5, "height": 1}
MASK = np.zeros((32, 32), np.uint8)
MASK[:, 16:] = 255
REGIONS: list[dict[str, Any]] = [
    {"prompt": "red apple", "box": LEFT, "weight": 1, "feather": 0},
    {"prompt": "green pear", "mask": "MASK", "negative_prompt": "flat", "feather": 0},
]


REGIONS[1]["mask"] = url(encode(Image.fromarray(MASK)))
SUBJECTS = [{"name": "Ada", "prompt": "red apple"}, {"name": "Bo", "prompt": "green pear"}]
BESIDE = [{"subject": "Ada", "relation": "left of", "object": "Bo"}]


@pytest.fixture
def database_settings(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    return sqlite_settings


@pytest.fixture
def illustrator(repository: Path) -> Illustrator:
    return drawing_illustrator(repository)


async def test_regions_over_json_forms_and_jobs(
    ada: httpx.AsyncClient, site: KeyedSite, illustrator: Illustrator
) -> None:
    fields: dict[str, Any] = {"prompt": "flat", "seed": 3}
    first = await drawn(ada, DIFFUSION, json={**fields, "regions": REGIONS})
    made = first["metadata"]["parameters"]["regions"]
    assert made[0]["box"] == LEFT
    assert made[1]["mask"]["width"] == 32
    form = {**{name: str(value) for name, value in fields.items()}, "regions": json.dumps(REGIONS)}
    second = await drawn(ada, DIFFUSION, files={name: (None, value) for name, value in form.items()})
    assert second["metadata"]["cached"] is True
    answer = await ada.post(JOBS, json={"kind": "illustrate", "input": {**fields, "regions": REGIONS, "steps": 6}})
    assert answer.status_code == 202, answer.text
    hand = await Hand.of(site.state)
    (job,) = await hand.claim()
    assert isinstance(job.request, IllustrateRequest)
    mask = job.request.options.regions[1].mask
    assert mask is not None
    assert mask.data == b""
    result = await JobExecutor(site.state, StandIn(), illustrator).run(job, hand.leases)
    pixels = await pixels_at(ada, first["image_url"])
    direct = await drawn(ada, DIFFUSION, json={**fields, "regions": REGIONS, "steps": 6})
    drawn_pixels = np.asarray(opened(base64.b64encode(result.outcome.files[0].data).decode()))
    assert np.array_equal(drawn_pixels, await pixels_at(ada, direct["image_url"]))
    assert not np.array_equal(pixels[:, :32], pixels[:, 32:])


async def test_styles_hold_in_regions(ada: httpx.AsyncClient) -> None:
    body = {"prompt": "flat", "seed": 3, "regions": REGIONS[:1], "styles": "ink"}
    made = (await drawn(ada, DIFFUSION, json=body))["metadata"]["parameters"]
    words = made["prompt"].removeprefix("flat")
    assert words
    assert made["regions"][0]["prompt"] == f"red apple{words}"


async def test_subjects_become_regions_where_the_preview_shows_them(ada: httpx.AsyncClient) -> None:
    layout = {"subjects": SUBJECTS, "relationships": BESIDE}
    shown = (await ada.post(PREVIEW, json={**layout, "width": 640, "height": 480})).json()
    assert [box["name"] for box in shown["boxes"]] == ["Ada", "Bo"]
    assert 'viewBox="0 0 640 480"' in shown["svg"]
    drawing = await drawn(ada, ILLUSTRATIONS, json={"prompt": "flat", "seed": 1, **layout})
    regions = drawing["metadata"]["parameters"]["regions"]
    assert [(one["name"], one["prompt"]) for one in regions] == [("Ada", "red apple"), ("Bo", "green pear")]
    for box, region in zip(shown["boxes"], regions, strict=True):
        assert all(abs(box[side] - region["box"][side]) < 1e-3 for side in LEFT)
    own = {"loras": "ink:0.5", "references": [{"subject": "Bella"}]}
    guided = {**layout, "subjects": [{**one, **own} for one in SUBJECTS], "width": 640, "height": 480}
    assert (await ada.post(PREVIEW, json=guided)).json() == shown
    moved = [{**SUBJECTS[0], "box": LEFT}, SUBJECTS[1]]
    shown = (await ada.post(PREVIEW, json={"subjects": moved, "relationships": BESIDE, "regions": REGIONS})).json()
    assert {side: shown["boxes"][0][side] for side in LEFT} == LEFT
    assert [box["kind"] for box in shown["boxes"]] == ["subject", "subject", "region"]


async def test_model_illustrate_takes_regions(ada: httpx.AsyncClient) -> None:
    def tensor(name: str, value: str) -> dict[str, Any]:
        return {"name": name, "shape": [1], "datatype": "BYTES", "data": [value]}

    inputs = [tensor("prompt", "flat"), tensor("regions", json.dumps(REGIONS))]
    body = {"inputs": inputs, "parameters": {"seed": 3}, "outputs": [{"name": "parameters"}]}
    answer = await ada.post("/v2/models/illustrate/infer", json=body)
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.json()["outputs"][0]["data"][0])["regions"][1]["prompt"] == "green pear"
    bad = {**body, "inputs": [inputs[0], tensor("regions", '[{"prompt": "x"}]')]}
    answer = await ada.post("/v2/models/illustrate/infer", json=bad)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("regions[0].box: ")


def region(**values: Any) -> dict[str, Any]:
    return {"regions": [{"prompt": "red", "box": LEFT, **values}]}


def related(*relations: tuple[str, str, str], subjects: Any = SUBJECTS) -> dict[str, Any]:
    names = ("subject", "relation", "object")
    return {"subjects": subjects, "relationships": [dict(zip(names, one, strict=True)) for one in relations]}


BAD: list[tuple[dict[str, Any], int, str]] = [
    (region(box={**LEFT, "left": 0.6}), 400, "regions[0].box"),
    (region(box={**LEFT, "left": 2}), 400, "regions[0].box.left"),
    (region(box={**LEFT, "width": 0}), 400, "regions[0].box.width"),
    (region(box=None), 400, "regions[0].box"),
    (region(prompt=""), 400, "regions[0].prompt"),
    (region(weight=0), 400, "regions[0].weight"),
    (region(feather=-1), 400, "regions[0].feather"),
    (region(place="left"), 400, "regions[0].place"),
    (region(mask=REGIONS[1]["mask"]), 400, "regions[0].box"),
    (region(box=None, mask=url(encode(Image.new("L", (8, 8))))), 400, "regions[0].mask"),
    (region(box=None, mask=url(REFUSED["not_an_image"])), 415, "regions[0].mask"),
    (region(box=None, mask="https://169.254.169.254/x"), 400, "regions[0].mask"),
    ({"regions": [{"prompt": "red", "box": LEFT}] * 9}, 400, "regions"),
    ({"regions": "["}, 400, "regions"),
    ({"subjects": [{"name": str(i)} for i in range(100)]}, 400, "subjects"),
    ({"subjects": [{"name": str(i)} for i in range(5)], "regions": REGIONS[:1] * 4}, 400, "regions"),
    ({"subjects": [{"name": "Ada"}] * 2}, 400, "subjects"),
    ({"subjects": [{**SUBJECTS[0], "box": {**LEFT, "left": 0.9}}]}, 400, "subjects[0].box"),
    ({"relationships": BESIDE}, 400, "relationships"),
    (related(("Ada", "left of", "Bo"), ("Bo", "left of", "Ada")), 400, "relationships[1]"),
    (related(("Ada", "left of", "Cy")), 400, "relationships[0].object"),
    (related(("Ada", "under", "Bo")), 400, "relationships[0].relation"),
]


@pytest.mark.parametrize(("values", "status", "field"), BAD, ids=range(len(BAD)))
async def test_bad_places_are_refused_by_name(
    ada: httpx.AsyncClient, site: KeyedSite, values: dict[str, Any], status: int, field: str
) -> None:
    for path in (DIFFUSION, ILLUSTRATIONS, PREVIEW, JOBS):
        body = values if path == PREVIEW else {"prompt": "flat", "seed": 1, **values}
        answer = await ada.post(path, json={"kind": "illustrate", "input": body} if path == JOBS else body)
        if path == PREVIEW and (field == "regions[0].mask" or values == BAD[8][0] or values == BAD[3][0]):
            continue  # masks are not read, and regions without boxes are not shown
        assert (answer.status_code, answer.json()["field"]) == (status, field), (path, answer.text)
    assert not [engine for engine, _ in site.illustrator.engine_set.client.calls if engine == "toy_unet"]
