"""Pictures that go on from checkpoints equal those that never stopped; what a reader is told on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serve.diffusion.samplers import SAMPLERS
from serve.ensembles.illustrator.illustration import (
    Checkpoint,
    IllustrateOptions,
    Illustration,
    Preview,
    Progress,
    StreamItem,
    StreamOptions,
)
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.progress import ProgressReporter
from serve.errors import EngineFailure, InvalidRequest
from serve.observability.costs import billed, charge
from serve.settings import IllustratorSettings
from tests.ensembles.drawn_family import FAMILY, denoise, engines, write_family
from tests.fakes import FakeEngines

FLOW = {
    **FAMILY,
    "prediction_type": "flow",
    "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
    "defaults": {**FAMILY["defaults"], "sampler": "flow_euler"},
}
FAMILIES = {"epsilon": FAMILY, "v_prediction": {**FAMILY, "prediction_type": "v_prediction"}, "flow": FLOW}
CASES = [(sampler.name, prediction) for sampler in SAMPLERS for prediction in sampler.predictions]
EACH_STEP = StreamOptions(checkpoint_every=1)
RED = IllustrateOptions("red apple , flat", negative_prompt="pear", seed=5)
MINI = Path(__file__).parents[2] / "model_repository"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """By what the toy family in it predicts."""
    return {kind: write_family(tmp_path_factory.mktemp(kind), family) for kind, family in FAMILIES.items()}


@pytest.fixture(scope="module")
def repository(repositories: Mapping[str, Path]) -> Path:
    return repositories["epsilon"]


def illustrator(repository: Path, asked: FakeEngines | None = None) -> Illustrator:
    chosen = IllustratorSettings(model_repository=repository)
    return Illustrator(chosen, engines=asked or engines())  # type: ignore[arg-type]


def counted(evaluations: float = float("inf")) -> FakeEngines:
    """Engines that fail after so many evaluations."""
    asked = engines()

    def answer(inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        if made(asked) > evaluations:
            raise EngineFailure("worn out")
        return denoise(inputs)

    asked.answers["toy_unet"] = answer
    return asked


def made(asked: FakeEngines) -> int:
    return sum(engine == "toy_unet" for engine, _ in asked.calls)


async def until_it_fails(stream: AsyncGenerator[StreamItem]) -> list[StreamItem]:
    told: list[StreamItem] = []

    async def read() -> None:
        async for item in stream:
            told.append(item)

    with pytest.raises(EngineFailure, match="worn out"):
        await read()
    return told


async def whole(stream: AsyncGenerator[StreamItem]) -> list[StreamItem]:
    return [item async for item in stream]


def checkpoints(told: Sequence[StreamItem]) -> dict[int, Checkpoint]:
    """The last of each picture."""
    return {item.index: item for item in told if isinstance(item, Checkpoint)}


def pixels(told: Sequence[StreamItem]) -> list[bytes]:
    assert isinstance(told[-1], Illustration)
    return [picture.pixels.tobytes() for picture in told[-1].pictures]


@pytest.mark.parametrize(("sampler", "prediction"), CASES, ids="-".join)
async def test_from_every_step_on_it_is_the_same_picture(
    repositories: Mapping[str, Path], sampler: str, prediction: str
) -> None:
    """To the last bit of its latents, with the noise that some samplers add on the way."""
    repository, options = repositories[prediction], replace(RED, sampler=sampler)
    undisturbed = await whole(illustrator(repository).stream(options, EACH_STEP))
    evaluations = undisturbed[-1].evaluations  # type: ignore[union-attr]
    (last,) = checkpoints(undisturbed).values()
    assert last.step == evaluations >= 6
    for step in range(1, evaluations):
        told = await until_it_fails(illustrator(repository, counted(step)).stream(options, EACH_STEP))
        (checkpoint,) = checkpoints(told).values()
        assert (checkpoint.index, checkpoint.step) == (0, step)
        asked = counted()
        again = await whole(illustrator(repository, asked).stream(options, EACH_STEP, [checkpoint]))
        assert made(asked) == evaluations - step
        assert checkpoints(again)[0].data == last.data
        assert pixels(again) == pixels(undisturbed)


async def test_a_picture_that_lacks_only_its_decoding_is_not_drawn_again(repository: Path) -> None:
    follow, asked = StreamOptions(checkpoint_every=4), counted()
    drawn = await whole(illustrator(repository).stream(RED, follow))
    assert checkpoints(drawn)[0].step == 6  # its last, though no multiple of 4
    again = await whole(illustrator(repository, asked).stream(RED, follow, list(checkpoints(drawn).values())))
    assert made(asked) == 0
    assert pixels(again) == pixels(drawn)
    assert not checkpoints(again)  # whoever resumes has it


@pytest.mark.parametrize("sampler", ["euler_a", "unipc", "heun"])
async def test_each_of_several_pictures_goes_on_from_its_own_place(repository: Path, sampler: str) -> None:
    """Also one that had not begun, and with previews, which come for the steps that are made."""
    options = replace(RED, n=3, sampler=sampler, num_inference_steps=7, preview_every=2)
    undisturbed = await whole(illustrator(repository).stream(options))
    evaluations = undisturbed[-1].evaluations  # type: ignore[union-attr]
    for evaluations_made in (1, 2, 5, 11, 3 * evaluations - 1):
        worn = Apart(engines().answers)
        worn.limit = evaluations_made
        told = await until_it_fails(illustrator(repository, worn).stream(options, EACH_STEP))
        newest = checkpoints(told)
        assert sum(checkpoint.step for checkpoint in newest.values()) == evaluations_made
        asked = counted()
        again = await whole(illustrator(repository, asked).stream(options, EACH_STEP, list(newest.values())))
        assert made(asked) == 3 * evaluations - evaluations_made
        assert pixels(again) == pixels(undisturbed)
        begun = {index: newest[index].step if index in newest else 0 for index in range(3)}
        assert previews(again) == [place for place in previews(undisturbed) if place[1] > begun[place[0]]]


def previews(told: Sequence[StreamItem]) -> list[tuple[int, int]]:
    return sorted((item.index, item.step) for item in told if isinstance(item, Preview))


class Apart(FakeEngines):
    """Pictures that are not equally fast, and fail together after ``limit`` evaluations."""

    limit = 0

    async def infer(self, engine: str, inputs: Any, **options: Any) -> dict[str, NDArray[Any]]:
        if engine == "toy_unet":
            for _ in range(int(1000 * abs(float(inputs["sample"].sum()))) % 7):
                await asyncio.sleep(0)
            if made(self) >= self.limit:
                raise EngineFailure("worn out")
        return await super().infer(engine, inputs, **options)


async def test_what_does_not_fit_begins_anew(repository: Path, tmp_path: Path) -> None:
    """Other options, another seed, another place, other engines, damage: the picture is drawn whole, and is right."""
    (checkpoint,) = checkpoints(
        await until_it_fails(illustrator(repository, counted(4)).stream(RED, EACH_STEP))
    ).values()
    newer = write_family(tmp_path)
    manifest = newer / "toy_unet" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": "7"', '"version": "8"'))
    cases: list[tuple[Path, IllustrateOptions, Checkpoint]] = [
        (repository, replace(RED, seed=6), checkpoint),
        (repository, replace(RED, prompt="red apple"), checkpoint),
        (repository, replace(RED, guidance_scale=3.5), checkpoint),
        (repository, replace(RED, width=72), checkpoint),
        (repository, RED, replace(checkpoint, index=1)),
        (repository, RED, replace(checkpoint, step=5)),
        (repository, RED, replace(checkpoint, data=checkpoint.data[:-1])),
        (repository, RED, replace(checkpoint, data=b"")),
        (newer, RED, checkpoint),
    ]
    for place, options, offered in cases:
        asked = counted()
        drawn = await whole(illustrator(place, asked).stream(options, StreamOptions(), [offered]))
        assert made(asked) == 6
        assert pixels(drawn) == pixels(await whole(illustrator(place).stream(options)))
    asked = counted()
    await whole(
        illustrator(repository, asked).stream(RED, StreamOptions(), [replace(checkpoint, data=b""), checkpoint])
    )
    assert made(asked) == 2


async def test_checkpoints_come_as_often_as_asked_and_by_default_never(repository: Path) -> None:
    options = replace(RED, num_inference_steps=11)
    assert [type(item) for item in await whole(illustrator(repository).stream(options))] == [Illustration]
    paced = Paced(engines().answers)
    told = []
    async for item in illustrator(repository, paced).stream(options, StreamOptions(checkpoint_every=3)):
        told.append(item)
        paced.read.release()
        paced.read.release()
        paced.read.release()
    assert [item.step for item in told if isinstance(item, Checkpoint)] == [3, 6, 9, 11]


class Paced(FakeEngines):
    """Makes an evaluation for each release of ``read``, and three before."""

    def __init__(self, answers: Any) -> None:
        super().__init__(answers)
        self.read = asyncio.Semaphore(3)

    async def infer(self, engine: str, inputs: Any, **options: Any) -> dict[str, NDArray[Any]]:
        if engine == "toy_unet":
            await self.read.acquire()
        return await super().infer(engine, inputs, **options)


async def test_a_reader_who_stops_holds_nothing_up_and_then_has_the_newest(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.ensembles.illustrator.progress.PREVIEW_TIMEOUT_S", 0.0001)
    asked = Slow(engines().answers)
    asked.last = 2 * 120  # decodings: of previews, of which the last is the picture
    options = replace(RED, n=2, num_inference_steps=120, preview_every=1)
    stream = illustrator(repository, asked).stream(options, StreamOptions(checkpoint_every=1, progress_s=1e-9))
    told = [await anext(stream)]
    await asyncio.wait_for(asked.done.wait(), 30)
    told += await whole(stream)
    assert isinstance(told[-1], Illustration)
    kept = Counter((type(item), getattr(item, "index", None)) for item in told)
    assert sum(count for (kind, _), count in kept.items() if kind is Preview) <= 32 + 2
    assert kept[Checkpoint, 0] == kept[Checkpoint, 1] == 1
    assert kept[Progress, None] <= 2
    assert {item.step for item in told if isinstance(item, Checkpoint)} == {120}
    assert [item for item in told if isinstance(item, Progress)][-1] == Progress(240, 240)


class Slow(FakeEngines):
    """Lets others have their turn, and is ``done`` with the ``last`` decoding."""

    last = 0

    def __init__(self, answers: Any) -> None:
        super().__init__(answers)
        self.done = asyncio.Event()

    async def infer(self, engine: str, inputs: Any, **options: Any) -> dict[str, NDArray[Any]]:
        answer = await super().infer(engine, inputs, **options)
        await asyncio.sleep(0)
        if sum(asked == "toy_vae_decoder" for asked, _ in self.calls) == self.last:
            self.done.set()
        return answer


async def test_progress_counts_over_all_pictures_and_from_where_they_go_on(repository: Path) -> None:
    paced = Paced(engines().answers)
    paced.read = asyncio.Semaphore(0)
    told: list[Progress] = []
    options = replace(RED, n=2)
    newest = checkpoints(await until_it_fails(illustrator(repository, counted(5)).stream(options, EACH_STEP)))
    begun = sum(checkpoint.step for checkpoint in newest.values())
    assert begun == 5
    stream = illustrator(repository, paced).stream(options, StreamOptions(progress_s=1e-9), list(newest.values()))
    async for item in stream:
        if isinstance(item, Progress):
            told.append(item)
            paced.read.release()
    assert told == [Progress(step, 12) for step in range(begun, 13)]


async def test_progress_is_told_no_oftener_than_asked(repository: Path) -> None:
    told = await whole(illustrator(repository, Slow(engines().answers)).stream(RED, StreamOptions(progress_s=3600)))
    assert told[:-1] == [Progress(0, 6)]


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("checkpoint_every", {"checkpoint_every": -1}),
        ("checkpoint_every", {"checkpoint_every": 1001}),
        ("progress_s", {"progress_s": -0.1}),
        ("progress_s", {"progress_s": float("nan")}),
    ],
)
def test_what_cannot_be_followed_is_refused(field: str, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        StreamOptions(**asked)
    assert raised.value.field == field


@pytest.mark.triton
async def test_another_triton_goes_on_with_the_picture_of_the_first() -> None:
    """The family that ships, alone in its Triton: the same pixels, and not a step made twice."""
    options = IllustrateOptions("red heart, flat", seed=3, num_inference_steps=12)

    async def drawn(resume: Sequence[Checkpoint], stop_at: int) -> tuple[list[StreamItem], int]:
        one, told = Illustrator(IllustratorSettings(model_repository=MINI)), []
        await one.start()
        try:
            stream = one.stream(options, EACH_STEP, resume)
            async for item in stream:
                told.append(item)
                if isinstance(item, Checkpoint) and item.step >= stop_at:
                    break
            await stream.aclose()
            (statistics,) = (await one.statistics("mini_unet"))["model_stats"]
            return told, int(statistics["inference_count"])
        finally:
            await one.close()

    undisturbed, everything = await drawn((), 99)
    stopped, _ = await drawn((), 5)
    last = list(checkpoints(stopped).values())
    again, rest = await drawn(last, 99)
    assert pixels(again) == pixels(undisturbed)
    assert np.frombuffer(pixels(again)[0], np.uint8).std() > 10
    assert everything - rest == 2 * last[0].step  # guidance asks twice


def test_progress_tells_what_was_spent() -> None:
    """Who draws may die, or be paused: what it had cost by then is known."""
    told: dict[str, Any] = {}

    class Box:
        def put_latest(self, key: str, item: Any) -> None:
            told[key] = item

    with billed():
        report = ProgressReporter(Box(), StreamOptions(progress_s=1e-9), ["mark"], [None] * 3, {})  # type: ignore[arg-type]
        charge(1.5, 0.5)
        report.count()
    assert told["progress"] == Progress(1, 3)
    assert told["progress"].cost == {"cpu_seconds": 1.5, "gpu_seconds": 0.5}
