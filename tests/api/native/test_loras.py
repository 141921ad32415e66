"""LoRAs over HTTP: adding, listing, removing; drawing with them by field, tag and A1111; what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from drawing_requests import adapted_illustrator, drawn, pixels_at
from keyed_door import KeyedSite, keyed_site
from safetensors.numpy import save

from serve.diffusion.styles import read_styles
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.requests import IllustrateRequest
from serve.errors import InvalidRequest
from serve.settings import DatabaseSettings
from serve.state import State
from serve.state.tables import objects, utc_now
from tests.jobs_standin import Hand

PATH, DIFFUSION, ILLUSTRATIONS = "/v1/loras", "/api/diffusion/generate", "/api/illustrations/generate"
QUERY = "down_blocks.0.attentions.0.to_q"
LAYERS = {"layers": {"attention": [[QUERY, 4, 4]]}}
BOX = {"left": 0, "top": 0, "width": 1, "height": 0.5}
BODY: dict[str, Any] = {"prompt": "red apple", "seed": 3}


def file_of(seed: int, inputs: int = 4) -> bytes:
    rng = np.random.default_rng(seed)
    tensors = {
        f"unet.{QUERY}.lora_A.weight": rng.standard_normal((2, inputs)).astype(np.float32),
        f"unet.{QUERY}.lora_B.weight": rng.standard_normal((4, 2)).astype(np.float32),
    }
    return save(tensors)


@pytest.fixture
def database_settings(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    return sqlite_settings


@pytest.fixture
def illustrator(state: State, tmp_path: Path) -> Illustrator:
    """Its UNet adds what the factors of each row's LoRAs say."""
    return adapted_illustrator(tmp_path, state, LAYERS, lambda file: file["unet.attention"])


@pytest.fixture
async def site(state: State, illustrator: Illustrator) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state, illustrator, loras={"max_count": 3}) as made:
        yield made


async def add(client: httpx.AsyncClient, data: bytes, name: str | None = None, file: str = "ink.safetensors") -> Any:
    return await client.post(PATH, files={"file": (file, data)}, data={} if name is None else {"name": name})


async def test_added_loras_are_listed_and_removed(ada: httpx.AsyncClient, site: KeyedSite) -> None:
    answer = await add(ada, file_of(1))
    assert answer.status_code == 201, answer.text
    lora = answer.json()
    assert (lora["name"], lora["families"], lora["parts"], lora["rank"], lora["layers"], lora["user_id"]) == (
        "ink", ["toy"], ["unet"], 2, 1, "ada",
    )  # fmt: skip
    assert (await ada.get(answer.headers["location"])).json() == lora
    assert (await add(ada, file_of(1))).status_code == 201, "the same again"
    assert (await add(ada, file_of(2))).status_code == 409
    assert (await ada.get(PATH)).json() == {"items": [lora]}
    (listed,) = (await ada.get("/sdapi/v1/loras")).json()
    assert (listed["name"], listed["metadata"]["ss_network_dim"]) == ("ink", "2")
    async with site.door((await site.key("bo")).secret) as bo:
        assert (await bo.delete(f"{PATH}/ink")).status_code == 403
        assert (await bo.get(f"{PATH}/ink")).status_code == 200
    assert (await ada.delete(f"{PATH}/ink")).status_code == 204
    assert (await ada.get(f"{PATH}/ink")).status_code == 404
    async with site.door((await site.key("reader", role="read-only")).secret) as reader:
        assert (await add(reader, file_of(1))).status_code == 403


async def test_field_tag_and_a1111_draw_the_same(ada: httpx.AsyncClient) -> None:
    for name, seed in (("ink", 1), ("sketch", 2)):
        assert (await add(ada, file_of(seed), name)).status_code == 201
    plain = await drawn(ada, DIFFUSION, json=BODY)
    loras = [{"name": "ink", "weight": 0.8}, {"name": "sketch", "weight": -0.5}]
    field = await drawn(ada, DIFFUSION, json={**BODY, "loras": loras})
    assert [(one["name"], one["weight"]) for one in field["metadata"]["parameters"]["loras"]] == [
        ("ink", 0.8), ("sketch", -0.5),
    ]  # fmt: skip
    tagged = await drawn(ada, DIFFUSION, json={**BODY, "prompt": "red apple <lora:ink:0.8><lora:sketch:-0.5>"})
    assert tagged["metadata"]["cached"] is True
    form = await drawn(ada, DIFFUSION, files={"prompt": (None, "red apple"), "seed": (None, "3"),
                                              "loras": (None, "ink:0.8, sketch:-0.5")})  # fmt: skip
    assert form["metadata"]["cached"] is True
    ours = await pixels_at(ada, field["image_url"])
    assert not np.array_equal(ours, await pixels_at(ada, plain["image_url"]))
    for inputs in (
        {"prompt": "red apple <lora:ink:0.8><lora:sketch:-0.5>"},
        {"prompt": "red apple", "loras": "ink:0.8, sketch:-0.5"},
    ):
        tensors = [{"name": name, "shape": [1], "datatype": "BYTES", "data": [text]} for name, text in inputs.items()]
        answer = await ada.post("/v2/models/illustrate/infer", json={"inputs": tensors, "parameters": {"seed": 3}})
        assert answer.status_code == 200, answer.text
        (image,) = (one for one in answer.json()["outputs"] if one["name"] == "image")
        assert np.array_equal(np.reshape(image["data"], ours.shape), ours)
    body = {"prompt": "red apple <lora:ink:0.8> <lora:sketch:-0.5> <lora:none:1>", "seed": 3}
    answer = (await ada.post("/sdapi/v1/txt2img", json=body)).json()
    assert "Networks not found: none" in answer["info"]
    plain_answer = (await ada.post("/sdapi/v1/txt2img", json={**BODY, "prompt": "red apple"})).json()
    assert answer["images"] != plain_answer["images"]


async def test_jobs_keep_the_file_of_their_lora(ada: httpx.AsyncClient, site: KeyedSite) -> None:
    stored = (await add(ada, file_of(1))).json()
    answer = await ada.post("/v1/jobs", json={"kind": "illustrate", "input": {**BODY, "loras": "ink"}})
    assert answer.status_code == 202, answer.text
    (job,) = await (await Hand.of(site.state)).claim()
    assert isinstance(job.request, IllustrateRequest)
    (use,) = job.request.options.loras
    assert (use.name, use.weight) == (stored["name"], 1.0)
    assert use.object.endswith(".bin")


async def test_removed_lora_stays_as_long_as_its_job(ada: httpx.AsyncClient, site: KeyedSite) -> None:
    assert (await add(ada, file_of(1))).status_code == 201
    answer = await ada.post("/v1/jobs", json={"kind": "illustrate", "input": {**BODY, "loras": "ink"}})
    assert answer.status_code == 202, answer.text
    assert (await add(ada, file_of(2), "sketch")).status_code == 201
    (job,) = await (await Hand.of(site.state)).claim()
    assert isinstance(job.request, IllustrateRequest)
    async with site.state.database.write() as connection:
        await connection.execute(sa.update(objects).values(touched_at=utc_now() - timedelta(hours=2)))
    for name in ("ink", "sketch"):
        assert (await ada.delete(f"{PATH}/{name}")).status_code == 204
    assert await site.state.objects.delete_unused(timedelta(hours=1)) == 0, "touched when it is removed"
    assert await site.state.objects.delete_unused(timedelta(seconds=-1)) == 1
    assert await site.state.objects.get(job.request.options.loras[0].object) == file_of(1)


async def test_each_prompt_of_a_batch_has_its_own_tags(ada: httpx.AsyncClient, site: KeyedSite) -> None:
    for name, seed in (("ink", 1), ("sketch", 2)):
        assert (await add(ada, file_of(seed), name)).status_code == 201
    prompts = ["red <lora:ink:0.5>", "green", "apple <lora:sketch>"]
    answer = await ada.post("/v1/jobs", json={"kind": "illustrate", "input": {"seed": 3}, "prompts": prompts})
    assert answer.status_code == 202, answer.text
    hand = await Hand.of(site.state)
    jobs = [job.request for _ in prompts for job in await hand.claim()]
    assert sorted(
        (one.prompt, *((use.name, use.weight, bool(use.object)) for use in one.options.loras))
        for one in jobs
        if isinstance(one, IllustrateRequest)
    ) == [("apple", ("sketch", 1.0, True)), ("green",), ("red", ("ink", 0.5, True))]
    body = {"kind": "illustrate", "input": {"loras": "sketch:0.3"}, "prompts": ["red <lora:ink:0.5>", "green"]}
    assert (await ada.post("/v1/jobs", json=body)).status_code == 202
    jobs = [job.request for _ in body["prompts"] for job in await hand.claim()]
    found = {one.prompt: {use.name for use in one.options.loras} for one in jobs if isinstance(one, IllustrateRequest)}
    assert found == {"red": {"ink", "sketch"}, "green": {"sketch"}}
    for tag in ("<lora:ink:much>", "<lora:none>"):
        body = {"kind": "illustrate", "input": {}, "prompts": ["red", f"green {tag}"]}
        answer = await ada.post("/v1/jobs", json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, "prompts")


async def test_retry_with_a_key_has_its_answer_after_the_removal(ada: httpx.AsyncClient) -> None:
    assert (await add(ada, file_of(1))).status_code == 201
    sent: dict[str, Any] = {"json": {**BODY, "loras": "ink"}, "headers": {"Idempotency-Key": "once"}}
    first = await drawn(ada, DIFFUSION, **sent)
    assert (await ada.delete(f"{PATH}/ink")).status_code == 204
    again = await drawn(ada, DIFFUSION, **sent)
    assert httpx.URL(again["image_url"]).path == httpx.URL(first["image_url"]).path
    answer = await ada.post(DIFFUSION, json=sent["json"])
    assert (answer.status_code, answer.json()["field"]) == (400, "loras")


async def test_a_site_without_keys_takes_loras(state: State, illustrator: Illustrator) -> None:
    async with keyed_site(state, illustrator, access={"required": "off"}) as site, site.door() as client:
        assert (await add(client, file_of(1))).status_code == 201
        (item,) = (await client.get(PATH)).json()["items"]
        assert (item["name"], item["user_id"]) == ("ink", "anonymous")
        assert (await client.delete(f"{PATH}/ink")).status_code == 204


async def test_users_keep_so_many(state: State, illustrator: Illustrator) -> None:
    async with keyed_site(state, illustrator, loras={"max_per_user": 1}) as site:
        async with site.door((await site.key("ada")).secret) as ada:
            assert (await add(ada, file_of(1))).status_code == 201
            assert (await add(ada, file_of(1))).status_code == 201, "the same again"
            answer = await add(ada, file_of(2), "sketch")
            assert (answer.status_code, "a user keeps no more" in answer.text) == (409, True)
        async with site.door((await site.key("bo")).secret) as bo:
            assert (await add(bo, file_of(2), "sketch")).status_code == 201


HOUSE = """
[[style]]
name = "house"
prompt = "flat"
loras = [{ name = "ink", weight = 0.8 }, { name = "sketch", weight = -0.5 }]

[[style]]
name = "hatched"
prompt = "red"
loras = [{ name = "ink", weight = 1.0 }]

[[style]]
name = "lost"
kind = "mood"
prompt = "green"
loras = [{ name = "gone" }]
"""


async def test_styles_bring_their_loras(state: State, illustrator: Illustrator, tmp_path: Path) -> None:
    """C-140, C-022: at their weight times that of the style; a request's own weight stands; unknown ones: 400."""
    folder = tmp_path / "styles"
    folder.mkdir()
    (folder / "own.toml").write_text(HOUSE)

    async def weights(client: httpx.AsyncClient, path: str = DIFFUSION, **body: Any) -> dict[str, float]:
        made = await drawn(client, path, json={**BODY, **body})
        return {one["name"]: one["weight"] for one in made["metadata"]["parameters"].get("loras", ())}

    async with keyed_site(state, illustrator, pictures={"styles": folder}) as site:
        ada = site.door((await site.key("ada")).secret)
        async with ada:
            for name, seed in (("ink", 1), ("sketch", 2)):
                assert (await add(ada, file_of(seed), name)).status_code == 201
            listed = (await ada.get("/api/styles")).json()["artistic_styles"]
            assert {"name": "sketch", "weight": -0.5} in next(one["loras"] for one in listed if one["name"] == "house")
            assert await weights(ada, styles="house") == {"ink": 0.8, "sketch": -0.5}
            mixed = await weights(ada, styles="house:0.5, hatched:0.4")
            assert mixed == pytest.approx({"ink": 0.8, "sketch": -0.25})
            assert await weights(ada, styles="house", loras="ink:0.1") == {"ink": 0.1, "sketch": -0.5}
            assert await weights(ada, styles="ink") == {}
            preferences = {"artisticStyle": "hatched"}
            assert await weights(ada, ILLUSTRATIONS, stylePreferences=preferences) == {"ink": 1.0}
            both = {"stylePreferences": preferences, "styles": "house:0.5"}
            assert await weights(ada, ILLUSTRATIONS, **both) == pytest.approx({"ink": 1.4, "sketch": -0.25})
            batch = {"kind": "illustrate", "input": {"styles": "house"}, "prompts": ["red <lora:ink:0.2>", "green"]}
            assert (await ada.post("/v1/jobs", json=batch)).status_code == 202
            jobs = [job.request for _ in batch["prompts"] for job in await (await Hand.of(site.state)).claim()]
            found = {
                one.prompt: {use.name: use.weight for use in one.options.loras}
                for one in jobs
                if isinstance(one, IllustrateRequest)
            }
            assert found == {"red, flat": {"ink": 0.2, "sketch": -0.5}, "green, flat": {"ink": 0.8, "sketch": -0.5}}
            body = {**BODY, "styles": "house"}
            plain = await drawn(ada, DIFFUSION, json={**BODY, "prompt": "red apple, flat"})
            styled = await drawn(ada, DIFFUSION, json=body)
            assert styled["metadata"]["parameters"]["prompt"] == "red apple, flat"
            assert not np.array_equal(
                await pixels_at(ada, styled["image_url"]), await pixels_at(ada, plain["image_url"])
            )
            answer = await ada.post("/v1/jobs", json={"kind": "illustrate", "input": body})
            assert answer.status_code == 202, answer.text
            (job,) = await (await Hand.of(site.state)).claim()
            assert isinstance(job.request, IllustrateRequest)
            assert [(use.name, bool(use.object)) for use in job.request.options.loras] == [
                ("ink", True),
                ("sketch", True),
            ]
            many = {"styles": "house", "loras": "a, b, c"}
            for refused in ({"styles": "lost"}, {"styles": "lost", "loras": "ink"}, many):
                answer = await ada.post(DIFFUSION, json={**BODY, **refused})
                assert (answer.status_code, answer.json()["field"]) == (400, "styles"), answer.text
            missing = {"stylePreferences": {"mood": "lost"}, "loras": "ink"}
            answer = await ada.post(ILLUSTRATIONS, json={**BODY, **missing})
            assert (answer.status_code, answer.json().get("field")) == (400, "stylePreferences"), answer.text
            assert "gone" in (await ada.post(DIFFUSION, json={**BODY, "styles": "lost"})).text


@pytest.mark.parametrize("lora", ['"ink"', "{}", '{ name = "../x" }', '{ name = "ink", weight = 9 }'])
def test_bad_loras_of_a_style_are_refused(lora: str) -> None:
    with pytest.raises(InvalidRequest, match=r"style 1: loras\.0"):
        read_styles(f'[[style]]\nname = "a"\nprompt = "a"\nloras = [{lora}]')


LEFT, RIGHT = {**BOX, "width": 0.5, "height": 1}, {**BOX, "left": 0.5, "width": 0.5, "height": 1}


async def test_lora_of_a_region_changes_that_region_alone(ada: httpx.AsyncClient, site: KeyedSite) -> None:
    """B-032, over JSON, by tag and in jobs: beside the region, the picture is the one without (latent by latent)."""
    assert (await add(ada, file_of(1))).status_code == 201
    region = {"prompt": "red apple", "box": LEFT, "weight": 1, "feather": 0}
    plain = await pixels_at(ada, (await drawn(ada, DIFFUSION, json={**BODY, "regions": [region]}))["image_url"])
    made = await drawn(ada, DIFFUSION, json={**BODY, "regions": [{**region, "loras": "ink:0.8"}]})
    regional = await pixels_at(ada, made["image_url"])
    assert np.array_equal(regional[:, 32:], plain[:, 32:])
    assert not np.array_equal(regional[:, :32], plain[:, :32])
    shown = made["metadata"]["parameters"]["regions"][0]["loras"]
    assert [(one["name"], one["weight"]) for one in shown] == [("ink", 0.8)]
    whole = await drawn(ada, DIFFUSION, json={**BODY, "loras": "ink:0.8"})
    assert np.array_equal((await pixels_at(ada, whole["image_url"]))[:, :32], regional[:, :32])
    tagged = {**region, "prompt": "red apple <lora:ink:0.8>"}
    again = await drawn(ada, DIFFUSION, json={**BODY, "regions": [tagged]})
    assert again["metadata"]["cached"] is True
    subject = {"name": "Ada", **region, "loras": "ink:0.8"}
    by_subject = await drawn(ada, DIFFUSION, json={**BODY, "subjects": [subject]})
    assert np.array_equal(await pixels_at(ada, by_subject["image_url"]), regional)
    body = {"kind": "illustrate", "input": {**BODY, "regions": [tagged]}}
    assert (await ada.post("/v1/jobs", json=body)).status_code == 202
    (job,) = await (await Hand.of(site.state)).claim()
    assert isinstance(job.request, IllustrateRequest)
    assert job.request.options.regions[0].loras[0].object in job.request.kept_objects


async def test_bad_files_and_names_are_refused(ada: httpx.AsyncClient) -> None:
    pickle = b"\x80\x04K\x01."
    cases = [
        (file_of(1, inputs=9), None, "ink.safetensors", 400, "file"),
        (pickle, None, "ink.safetensors", 400, "file"),
        (b"", None, "ink.safetensors", 400, "file"),
        (file_of(1), "../x", "ink.safetensors", 400, "name"),
        (file_of(1), None, "..", 400, "name"),
        (file_of(1), "x" * 65, "ink.safetensors", 400, "name"),
    ]
    for data, name, file, status, field in cases:
        answer = await add(ada, data, name, file)
        assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await ada.get(PATH)).json() == {"items": []}
    for seed in range(3):
        assert (await add(ada, file_of(seed), f"lora{seed}")).status_code == 201
    assert (await add(ada, file_of(9), "one-more")).status_code == 409


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"loras": "none"}, "loras"),
        ({"loras": "../x"}, "loras"),
        ({"loras": [{"name": "ink", "weight": 9}]}, "loras[0].weight"),
        ({"loras": "a,b,c,d,e"}, "loras"),
        ({"loras": "ink,ink"}, "loras"),
        ({"prompt": "x <lora:ink:much>"}, "prompt"),
        ({"prompt": "<lora:ink:1>"}, "prompt"),
        ({"regions": [{"prompt": "<lora:ink:much> sky", "box": BOX}]}, "regions[0].prompt"),
        ({"regions": [{"prompt": "<lora:ink:1>", "box": BOX}]}, "regions[0].prompt"),
        ({"regions": [{"prompt": "sky", "box": BOX, "loras": "none"}]}, "regions[0].loras"),
        ({"regions": [{"prompt": "<lora:ink> sky", "box": BOX, "loras": "ink"}]}, "regions[0].loras"),
        ({"loras": "ink", "regions": [{"prompt": "sky", "box": BOX, "loras": "ink"}]}, "regions[0].loras"),
        ({"loras": "a,b", "regions": [{"prompt": "sky", "box": BOX, "loras": "c,d,e"}]}, "regions[0].loras"),
        ({"subjects": [{"name": "sky", "loras": "none"}]}, "subjects[0].loras"),
        (
            {"subjects": [{"name": "sky"}], "regions": [{"prompt": "x", "box": BOX, "loras": "none"}]},
            "regions[0].loras",
        ),
        (
            {
                "subjects": [{"name": "cat"}, {"name": "sky", "loras": "none"}],
                "relationships": [{"subject": "sky", "relation": "behind", "object": "cat"}],
            },
            "subjects[1].loras",
        ),
        ({"regions": [{"prompt": "sky", "negative_prompt": "<lora:ink:1>", "box": BOX}]}, "regions[0].negative_prompt"),
        ({"subjects": [{"name": "<lora:ink:1>"}]}, "subjects[0].name"),
    ],
)
async def test_bad_uses_are_refused(ada: httpx.AsyncClient, fields: dict[str, Any], field: str) -> None:
    assert (await add(ada, file_of(1))).status_code == 201
    answer = await ada.post(DIFFUSION, json={**BODY, **fields})
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
