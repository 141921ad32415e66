"""`/api/captions` and jobs of the kind caption, with encoders that see colours alone and a decoder that says one word
(B-023 to B-025)."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from colour_encoders import write_encoders
from illustrator_standin import IllustratorStandIn
from jobs_standin import with_settings
from keyed_door import KeyedSite, keyed_site
from numpy.typing import NDArray
from PIL import Image
from standin import StandIn
from stateful_door import is_problem
from tokenizers import Tokenizer, models, pre_tokenizers

from serve.ensembles.captioner.decoding import beam_search
from serve.ensembles.captioner.describer import Describer
from serve.ensembles.captioner.fusion import Candidate, fused, scored
from serve.ensembles.captioner.tags import Tag
from serve.ensembles.director.chat_model import ChatFailed, ChatOptions, Message
from serve.errors import EngineUnavailable
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.worker import Worker
from serve.state import State

WORDS = ("[PAD]", "[END]", "[BEGIN]", "a", "red", "green", "blue", "thing")
COLOURS = {0: "red", 1: "green", 2: "blue"}


def write_captioner(folder: Path, name: str = "teller") -> Path:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.add_special_tokens(list(WORDS[:3]))
    for part in ("picture", "decoder"):
        (folder / f"{name}_{part}").mkdir(parents=True)
        (folder / f"{name}_{part}" / "config.pbtxt").write_text("")
    stated = {"side_px": 8, "fit": "stretch", "bos": 2, "eos": 1, "max_tokens": 12, "decoder": f"{name}_decoder"}
    (folder / f"{name}_picture" / "manifest.json").write_text(json.dumps({"caption": stated}))
    (folder / f"{name}_picture" / "tokenizer.json").write_text(tokenizer.to_str())
    return folder


class Teller(IllustratorStandIn):
    """Says: a COLOUR thing."""

    broken = False
    silent = False

    async def infer(self, engine: str, inputs: Mapping[str, NDArray[Any]], **_options: Any) -> dict[str, NDArray[Any]]:
        if self.broken:
            raise EngineUnavailable("is away")
        if engine == "teller_picture":
            return {"states": inputs["image"].astype(np.float32).mean((1, 2))[:, None]}
        assert engine == "teller_decoder"
        logits = np.zeros((len(inputs["ids"]), len(WORDS)), np.float32)
        for row, ids in enumerate(inputs["ids"]):
            colour = COLOURS[int(inputs["states"][row, 0].argmax())]
            said = {2: "a", 3: colour, **dict.fromkeys((4, 5, 6), "thing")}.get(int(ids[-1]), "[END]")
            logits[row, WORDS.index("[END]" if self.silent else said)] = 6
        return {"logits": logits}


@pytest.fixture
def teller() -> Teller:
    return Teller()


def at(state: State, repository: Path) -> State:
    settings = with_settings(state.settings, illustrator={"model_repository": repository})
    return dataclasses.replace(state, settings=settings)


@pytest.fixture
async def site(state: State, tmp_path: Path, teller: Teller) -> AsyncIterator[KeyedSite]:
    async with keyed_site(at(state, write_captioner(write_encoders(tmp_path / "engines"))), teller) as opened:
        yield opened


def picture(colour: str) -> str:
    made = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(made, "PNG")
    return "data:image/png;base64," + base64.b64encode(made.getvalue()).decode()


async def test_models_caption_together(ada: httpx.AsyncClient) -> None:
    assert (await ada.get("/api/captions/models")).json() == {"models": ["teller", "search"]}
    answer = await ada.post("/api/captions", json={"image": picture("red")})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["caption"] == found["candidates"][0]["text"] == "a red thing"
    first = found["candidates"][0]
    assert first["model"] == "teller"
    assert first["confidence"] > 0.9
    assert first["likeness"] > 0.9
    assert next(one["name"] for one in found["tags"] if one["category"] == "colors") == "red"
    blue = (await ada.post("/api/captions", json={"image": picture("blue"), "beams": 1})).json()
    assert [one["text"] for one in blue["candidates"] if one["model"] == "teller"] == ["a blue thing"]
    prompted = (await ada.post("/api/captions", json={"image": picture("lime"), "prompt": "a green"})).json()
    assert prompted["caption"] == "a green thing"


async def test_a_model_without_a_word_gives_an_empty_caption(ada: httpx.AsyncClient, teller: Teller) -> None:
    teller.silent = True
    answer = await ada.post("/api/captions", json={"image": picture("red"), "models": ["teller"]})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    likely = [one["name"] for one in found["tags"] if one["probability"] > 0.9]
    assert (found["caption"], found["score"], found["candidates"]) == (", ".join(likely), 0, [])
    both = (await ada.post("/api/captions", json={"image": picture("red")})).json()
    assert {one["model"] for one in both["candidates"]} <= {"search"}


async def test_a_form_takes_a_file(ada: httpx.AsyncClient) -> None:
    made = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(made, "PNG")
    answer = await ada.post("/api/captions", files={"image": ("a.png", made.getvalue())})
    assert answer.json()["caption"] == "a red thing"
    chosen = {"models": '["teller"]', "weights": '{"teller": 2}', "image": picture("blue")}
    files = {"beams": (None, "1")}
    only = (await ada.post("/api/captions", data=chosen, files=files)).json()
    assert [one["model"] for one in only["candidates"]][:1] == ["teller"]


async def test_an_svg_is_captioned_without_its_scripts(ada: httpx.AsyncClient) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><script/><path fill="{}" d="M0 0H9V9H0Z"/></svg>'
    answer = await ada.post("/api/captions", files={"image": ("a.svg", svg.format("#f00"))})
    assert answer.json()["caption"] == "a red thing"
    image = "data:image/svg+xml;base64," + base64.b64encode(svg.format("#00f").encode()).decode()
    job = {"kind": "caption", "input": {"pictures": [{"image": image}]}}
    assert (await ada.post("/v1/jobs", json=job)).status_code == 202
    assert (await ada.post("/api/captions", json={"image": image})).json()["caption"] == "a blue thing"
    assert is_problem(await ada.post("/api/captions", files={"image": ("a.svg", "<svg>")}), 415, "image")


class Seer:
    """A language model that sees."""

    name = "seer"
    says = ""

    async def stream(self, messages: Sequence[Message], options: ChatOptions) -> AsyncGenerator[str, None]:
        assert messages[-1].picture
        if not self.says:
            raise ChatFailed("did not answer in time")
        yield self.says


async def test_a_language_model_that_sees_is_one_of_the_models(
    site: KeyedSite, ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seer = Seer()
    monkeypatch.setattr(site.app.state, "describer", Describer(seer, ChatOptions()), raising=False)
    assert (await ada.get("/api/captions/models")).json() == {"models": ["teller", "search", "seer"]}
    seer.says = "a red thing on fire\nand more"
    found = (await ada.post("/api/captions", json={"image": picture("red"), "weights": {"seer": 9}})).json()
    best = found["candidates"][0]
    assert (best["model"], best["text"], best["confidence"]) == ("seer", "a red thing on fire", None)
    assert best["likeness"] > 0.9
    assert 0 < best["agreement"] < 1
    seer.says = ""
    assert (await ada.post("/api/captions", json={"image": picture("red")})).status_code == 503
    without = {"image": picture("red"), "models": ["teller", "search"]}
    assert (await ada.post("/api/captions", json=without)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "image"),
        ({"image": "data:image/png;base64,AAAA"}, 415, "image"),
        ({"image": "RED", "models": ["none"]}, 404, "models"),
        ({"image": "RED", "models": []}, 400, "models"),
        ({"image": "RED", "beams": 9}, 400, "beams"),
        ({"image": "RED", "weights": {"teller": -1}}, 400, "weights.teller"),
        ({"image": "RED", "prompt": "a " * 17}, 400, "prompt"),
        ({"result_id": "nothing"}, 404, "result_id"),
    ],
)
async def test_bad_input(ada: httpx.AsyncClient, body: dict[str, Any], status: int, field: str) -> None:
    if body.get("image") == "RED":
        body = {**body, "image": picture("red")}
    assert is_problem(await ada.post("/api/captions", json=body), status, field)


async def test_an_engine_that_is_away_is_said(ada: httpx.AsyncClient, teller: Teller) -> None:
    teller.broken = True
    assert (await ada.post("/api/captions", json={"image": picture("red")})).status_code == 503


async def test_without_engines_the_answer_says_what_adds_one(state: State, tmp_path: Path) -> None:
    async with keyed_site(at(state, tmp_path)) as opened, opened.door((await opened.key("ada")).secret) as ada:
        answer = await ada.post("/api/captions", json={"image": picture("red")})
        job = await ada.post("/v1/jobs", json={"kind": "caption", "input": {"pictures": [{"image": picture("red")}]}})
    assert answer.status_code == job.status_code == 501
    assert "build_engines caption" in answer.json()["detail"]


async def test_a_job_captions_pictures_in_order(site: KeyedSite, ada: httpx.AsyncClient, teller: Teller) -> None:
    pictures = [{"image": picture("red")}, {"image": picture("blue")}]
    body = {"kind": "caption", "input": {"pictures": pictures, "models": ["teller"]}}
    added = await ada.post("/v1/jobs", json=body)
    assert added.status_code == 202, added.text
    worker = Worker(site.state, JobExecutor(site.state, StandIn(), teller))
    await worker.start()
    try:
        async with asyncio.timeout(60):
            while (job := (await ada.get(f"/v1/jobs/{added.json()['id']}")).json())["status"] != "completed":
                assert job["status"] != "failed", job["error"]
                await asyncio.sleep(0.05)
    finally:
        await worker.close()
    assert [one["caption"] for one in job["details"]["captions"]] == ["a red thing", "a blue thing"]
    assert (job["kind"], job["results"]) == ("caption", [])
    refused = await ada.post("/v1/jobs", json={"kind": "caption", "input": {"pictures": [{}]}})
    assert is_problem(refused, 400, "pictures[0].image")


async def test_beams_find_what_greed_misses() -> None:
    """The likelier first word leads to a flat end."""

    async def logits(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        table = {0: [0, 0.55, 0.45, 0], 1: [0.25, 0.25, 0.25, 0.25], 2: [0, 0, 0.01, 0.99]}
        return np.log(np.asarray([table[int(row[-1])] for row in ids], np.float32) + 1e-9)

    greedy = await beam_search(logits, [0], eos=3, max_tokens=3, beams=1)
    found = await beam_search(logits, [0], eos=3, max_tokens=3, beams=2)
    assert greedy[0].tokens[0] == 1
    assert found[0].tokens == (2,)
    assert found[0].log_probability > greedy[0].log_probability


def test_fusion_weighs_and_completes() -> None:
    candidates = [
        Candidate("a red fox", "one", 0.6, 0.5),
        Candidate("a red fox in snow", "two", 0.5, 0.6),
        Candidate("a boat", "two", 0.9, 0.1),
    ]
    ranked = scored(candidates, 10.0, {})
    assert ranked[0].candidate.text == "a red fox in snow"
    assert ranked[-1].candidate.text == "a boat"
    assert ranked[0].agreement == pytest.approx(2 / 3)
    assert scored([Candidate("a boat", "seer", None)], 10.0, {})[0].score == 0
    assert scored(candidates, 10.0, {"two": 0.1})[0].candidate.text == "a red fox"
    tags = [Tag("styles", "watercolour", 0.5, 0.95), Tag("colors", "red", 0.5, 0.99), Tag("moods", "dark", 0.4, 0.5)]
    assert fused("a red fox", tags) == "a red fox, watercolour"
