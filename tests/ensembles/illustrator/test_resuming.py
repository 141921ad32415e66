"""Pictures resumed from checkpoints equal uninterrupted ones; and the items of the progress stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serve.diffusion.samplers import SAMPLERS
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.progress import ProgressReporter
from serve.ensembles.illustrator.service import Checkpoint, Preview, Progress, StreamItem, StreamOptions
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
MINI = Path(__file__).parents[3] / "model_repository"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """One repository for each prediction type of the toy family."""
    return {kind: write_family(tmp_path_factory.mktemp(kind), family) for kind, family in FAMILIES.items()}


@pytest.fixture(scope="module")
def repository(repositories: Mapping[str, Path]) -> Path:
    return repositories["epsilon"]


def illustrator(repository: Path, fake_engines: FakeEngines | None = None) -> Illustrator:
    chosen = IllustratorSettings(model_repository=repository)
    return Illustrator(chosen, engines=fake_engines or engines())  # type: ignore[arg-type]


def counting_engines(evaluations: float = float("inf")) -> FakeEngines:
    """Engines that fail after ``evaluations`` evaluations."""
    fake_engines = engines()

    def answer(inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        if evaluations_of(fake_engines) > evaluations:
            raise EngineFailure("worn out")
        return denoise(inputs)

    fake_engines.answers["toy_unet"] = answer
    return fake_engines


def evaluations_of(fake_engines: FakeEngines) -> int:
    return sum(engine == "toy_unet" for engine, _ in fake_engines.calls)


async def read_until_failure(stream: AsyncGenerator[StreamItem]) -> list[StreamItem]:
    items: list[StreamItem] = []

    async def read() -> None:
        async for item in stream:
            items.append(item)

    with pytest.raises(EngineFailure, match="worn out"):
        await read()
    return items


async def read_all(stream: AsyncGenerator[StreamItem]) -> list[StreamItem]:
    return [item async for item in stream]


def checkpoints(items: Sequence[StreamItem]) -> dict[int, Checkpoint]:
    """The last checkpoint of each picture."""
    return {item.index: item for item in items if isinstance(item, Checkpoint)}


def pixels(items: Sequence[StreamItem]) -> list[bytes]:
    assert isinstance(items[-1], Illustration)
    return [picture.pixels.tobytes() for picture in items[-1].pictures]


@pytest.mark.parametrize(("sampler", "prediction"), CASES, ids="-".join)
async def test_resuming_at_any_step_gives_the_same_picture(
    repositories: Mapping[str, Path], sampler: str, prediction: str
) -> None:
    """To the last bit of its latents, with the noise that some samplers add at later steps."""
    repository, options = repositories[prediction], replace(RED, sampler=sampler)
    undisturbed = await read_all(illustrator(repository).stream(options, EACH_STEP))
    evaluations = undisturbed[-1].evaluations  # type: ignore[union-attr]
    (last,) = checkpoints(undisturbed).values()
    assert last.step == evaluations >= 6
    for step in range(1, evaluations):
        items = await read_until_failure(illustrator(repository, counting_engines(step)).stream(options, EACH_STEP))
        (checkpoint,) = checkpoints(items).values()
        assert (checkpoint.index, checkpoint.step) == (0, step)
        fake_engines = counting_engines()
        again = await read_all(illustrator(repository, fake_engines).stream(options, EACH_STEP, [checkpoint]))
        assert evaluations_of(fake_engines) == evaluations - step
        assert checkpoints(again)[0].data == last.data
        assert pixels(again) == pixels(undisturbed)


async def test_picture_at_its_last_step_is_only_decoded(repository: Path) -> None:
    follow, fake_engines = StreamOptions(checkpoint_every=4), counting_engines()
    drawn = await read_all(illustrator(repository).stream(RED, follow))
    assert checkpoints(drawn)[0].step == 6  # the last one, although no multiple of 4
    again = await read_all(illustrator(repository, fake_engines).stream(RED, follow, list(checkpoints(drawn).values())))
    assert evaluations_of(fake_engines) == 0
    assert pixels(again) == pixels(drawn)
    assert not checkpoints(again)  # the caller has it already


@pytest.mark.parametrize("sampler", ["euler_a", "unipc", "heun"])
async def test_each_of_several_pictures_resumes_at_its_own_step(repository: Path, sampler: str) -> None:
    """Also a picture without any step; previews come for the remaining steps only."""
    options = replace(RED, n=3, sampler=sampler, num_inference_steps=7, preview_every=2)
    undisturbed = await read_all(illustrator(repository).stream(options))
    evaluations = undisturbed[-1].evaluations  # type: ignore[union-attr]
    for evaluations_made in (1, 2, 5, 11, 3 * evaluations - 1):
        uneven = UnevenEngines(engines().answers)
        uneven.limit = evaluations_made
        items = await read_until_failure(illustrator(repository, uneven).stream(options, EACH_STEP))
        newest = checkpoints(items)
        assert sum(checkpoint.step for checkpoint in newest.values()) == evaluations_made
        fake_engines = counting_engines()
        again = await read_all(illustrator(repository, fake_engines).stream(options, EACH_STEP, list(newest.values())))
        assert evaluations_of(fake_engines) == 3 * evaluations - evaluations_made
        assert pixels(again) == pixels(undisturbed)
        begun = {index: newest[index].step if index in newest else 0 for index in range(3)}
        assert previews(again) == [place for place in previews(undisturbed) if place[1] > begun[place[0]]]


def previews(items: Sequence[StreamItem]) -> list[tuple[int, int]]:
    return sorted((item.index, item.step) for item in items if isinstance(item, Preview))


class UnevenEngines(FakeEngines):
    """The pictures take different times, and all fail together after ``limit`` evaluations."""

    limit = 0

    async def infer(self, engine: str, inputs: Any, **options: Any) -> dict[str, NDArray[Any]]:
        if engine == "toy_unet":
            for _ in range(int(1000 * abs(float(inputs["sample"].sum()))) % 7):
                await asyncio.sleep(0)
            if evaluations_of(self) >= self.limit:
                raise EngineFailure("worn out")
        return await super().infer(engine, inputs, **options)


async def test_mismatched_checkpoint_starts_the_picture_anew(repository: Path, tmp_path: Path) -> None:
    """Other options, seed, index or engines, or damage: the whole picture is drawn, and is right."""
    (checkpoint,) = checkpoints(
        await read_until_failure(illustrator(repository, counting_engines(4)).stream(RED, EACH_STEP))
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
        fake_engines = counting_engines()
        drawn = await read_all(illustrator(place, fake_engines).stream(options, StreamOptions(), [offered]))
        assert evaluations_of(fake_engines) == 6
        assert pixels(drawn) == pixels(await read_all(illustrator(place).stream(options)))
    fake_engines = counting_engines()
    await read_all(
        illustrator(repository, fake_engines).stream(RED, StreamOptions(), [replace(checkpoint, data=b""), checkpoint])
    )
    assert evaluations_of(fake_engines) == 2


async def test_checkpoint_interval_is_followed_and_off_by_default(repository: Path) -> None:
    options = replace(RED, num_inference_steps=11)
    assert [type(item) for item in await read_all(illustrator(repository).stream(options))] == [Illustration]
    paced_engines = PacedEngines(engines().answers)
    items = []
    async for item in illustrator(repository, paced_engines).stream(options, StreamOptions(checkpoint_every=3)):
        items.append(item)
        paced_engines.read.release()
        paced_engines.read.release()
        paced_engines.read.release()
    assert [item.step for item in items if isinstance(item, Checkpoint)] == [3, 6, 9, 11]


class PacedEngines(FakeEngines):
    """Makes one evaluation for each release of ``read``, and three before the first."""

    def __init__(self, answers: Any) -> None:
        super().__init__(answers)
        self.read = asyncio.Semaphore(3)

    async def infer(self, engine: str, inputs: Any, **options: Any) -> dict[str, NDArray[Any]]:
        if engine == "toy_unet":
            await self.read.acquire()
        return await super().infer(engine, inputs, **options)


async def test_slow_reader_delays_nothing_and_gets_the_newest_items(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.ensembles.illustrator.progress.PREVIEW_TIMEOUT_S", 0.0001)
    fake_engines = SlowEngines(engines().answers)
    fake_engines.last = 2 * 120  # decodings: those of previews, and the last of each picture
    options = replace(RED, n=2, num_inference_steps=120, preview_every=1)
    stream = illustrator(repository, fake_engines).stream(options, StreamOptions(checkpoint_every=1, progress_s=1e-9))
    items = [await anext(stream)]
    await asyncio.wait_for(fake_engines.done.wait(), 60)
    items += await read_all(stream)
    assert isinstance(items[-1], Illustration)
    kept = Counter((type(item), getattr(item, "index", None)) for item in items)
    assert sum(count for (kind, _), count in kept.items() if kind is Preview) <= 32 + 2
    assert kept[Checkpoint, 0] == kept[Checkpoint, 1] == 1
    assert kept[Progress, None] <= 2
    assert {item.step for item in items if isinstance(item, Checkpoint)} == {120}
    assert [item for item in items if isinstance(item, Progress)][-1] == Progress(240, 240)


class SlowEngines(FakeEngines):
    """Yields to other tasks; ``done`` is set with the ``last`` decoding."""

    last = 0

    def __init__(self, answers: Any) -> None:
        super().__init__(answers)
        self.done = asyncio.Event()

    async def infer(self, engine: str, inputs: Any, **options: Any) -> dict[str, NDArray[Any]]:
        answer = await super().infer(engine, inputs, **options)
        await asyncio.sleep(0)
        if sum(engine == "toy_vae_decoder" for engine, _ in self.calls) == self.last:
            self.done.set()
        return answer


async def test_progress_counts_all_pictures_from_their_resumed_steps(repository: Path) -> None:
    paced_engines = PacedEngines(engines().answers)
    paced_engines.read = asyncio.Semaphore(0)
    items: list[Progress] = []
    options = replace(RED, n=2)
    newest = checkpoints(
        await read_until_failure(illustrator(repository, counting_engines(5)).stream(options, EACH_STEP))
    )
    begun = sum(checkpoint.step for checkpoint in newest.values())
    assert begun == 5
    stream = illustrator(repository, paced_engines).stream(
        options, StreamOptions(progress_s=1e-9), list(newest.values())
    )
    async for item in stream:
        if isinstance(item, Progress):
            items.append(item)
            paced_engines.read.release()
    assert items == [Progress(step, 12) for step in range(begun, 13)]


async def test_progress_interval_is_followed(repository: Path) -> None:
    items = await read_all(
        illustrator(repository, SlowEngines(engines().answers)).stream(RED, StreamOptions(progress_s=3600))
    )
    assert items[:-1] == [Progress(0, 6)]


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("checkpoint_every", {"checkpoint_every": -1}),
        ("checkpoint_every", {"checkpoint_every": 1001}),
        ("progress_s", {"progress_s": -0.1}),
        ("progress_s", {"progress_s": float("nan")}),
    ],
)
def test_invalid_stream_options_are_refused(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        StreamOptions(**options)
    assert raised.value.field == field


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[Illustrator]:
    """With a Triton of its own."""
    one = Illustrator(IllustratorSettings(model_repository=MINI))
    await one.start()
    try:
        yield one
    finally:
        await one.close()


@pytest.mark.triton
async def test_another_triton_resumes_the_picture() -> None:
    """The family that ships, in a Triton of its own: the same pixels, and no step is computed twice."""
    options = IllustrateOptions("red heart, flat", seed=3, num_inference_steps=12)

    async def drawn(one: Illustrator, resume: Sequence[Checkpoint] = (), stop_at: int = 99) -> list[StreamItem]:
        items, stream = [], one.stream(options, EACH_STEP, resume)
        async for item in stream:
            items.append(item)
            if isinstance(item, Checkpoint) and item.step >= stop_at:
                break
        await stream.aclose()
        return items

    async def inferences(one: Illustrator) -> int:
        (statistics,) = (await one.statistics("pictogram_unet"))["model_stats"]
        return int(statistics["inference_count"])

    async with started() as one:
        undisturbed, everything = await drawn(one), await inferences(one)
        stopped = await drawn(one, stop_at=5)
    last = list(checkpoints(stopped).values())
    async with started() as another:
        again, rest = await drawn(another, last), await inferences(another)
    assert pixels(again) == pixels(undisturbed)
    assert np.frombuffer(pixels(again)[0], np.uint8).std() > 10
    assert everything - rest == 2 * last[0].step  # guidance takes two rows


def test_progress_reports_the_cost_so_far() -> None:
    """If the worker dies or the job is paused, the cost up to then is known."""
    items: dict[str, Any] = {}

    class RecordingOutbox:
        def put_latest(self, key: str, item: Any) -> None:
            items[key] = item

    with billed():
        report = ProgressReporter(RecordingOutbox(), StreamOptions(progress_s=1e-9), ["mark"], [None] * 3, {})  # type: ignore[arg-type]
        charge(1.5, 0.5)
        report.count()
    assert items["progress"] == Progress(1, 3)
    assert items["progress"].cost == {"cpu_seconds": 1.5, "gpu_seconds": 0.5}
