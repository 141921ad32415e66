"""Finishing on engines that are functions: tiles, scales, alpha, plain grounds, second passes, what is missing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serve.ensembles.illustrator.finishing.finish import Finish, Hires
from serve.ensembles.illustrator.finishing.finishing import finishers_in
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.illustrator.service import Progress, StreamOptions
from serve.ensembles.requests import IllustrateRequest, from_json
from serve.errors import AtelierError, EngineFailure, InvalidRequest, TooLarge, Unsupported
from serve.settings import IllustratorSettings
from serve.vector.ground import without_plain_ground
from tests.ensembles.drawn_family import engines, write_family
from tests.ensembles.finishing_engines import ANSWERS, FINISHERS, repeated, smoothed_twice, write_finishers
from tests.fakes import FakeEngines

PIXELS = np.random.default_rng(7).integers(0, 256, (50, 70, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finishers(write_family(tmp_path_factory.mktemp("repository")))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("bare"))


def fakes(**more: Any) -> FakeEngines:
    found = engines()
    found.answers |= {**ANSWERS, **more}
    return found


def illustrator(repository: Path, fake_engines: FakeEngines | None = None) -> Illustrator:
    settings = IllustratorSettings(model_repository=repository)
    return Illustrator(settings, engines=fake_engines or fakes())  # type: ignore[arg-type]


def sent(pixels: NDArray[np.uint8]) -> PictureSource:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return PictureSource(InputPicture("a.png", pixels.shape[1], pixels.shape[0], file.getvalue()))


def finishing(pixels: NDArray[np.uint8], finish: Finish) -> IllustrateOptions:
    return IllustrateOptions("", seed=0, source=sent(pixels), finish=finish, draws=False)


async def finished(repository: Path, pixels: NDArray[np.uint8], finish: Finish) -> NDArray[np.uint8]:
    drawn = await illustrator(repository).draw(finishing(pixels, finish))
    return drawn.pictures[0].pixels


async def test_tiles_make_the_picture_that_the_whole_would(repository: Path) -> None:
    fake_engines = fakes()
    drawn = await illustrator(repository, fake_engines).draw(finishing(PIXELS, Finish(2.0)))
    assert np.array_equal(drawn.pictures[0].pixels, smoothed_twice({"image": PIXELS[None]})["result"][0])
    sides = [max(inputs["image"].shape[1:3]) for engine, inputs in fake_engines.calls if engine == "upscale_2x"]
    assert len(sides) == 9
    assert max(sides) <= 26
    assert drawn.parameters.to_json()["finish"] == {"upscale": 2.0}
    assert drawn.model_versions == {"upscale_2x": "3"}
    assert (drawn.parameters.width, drawn.parameters.height, drawn.evaluations) == (140, 100, 0)


@pytest.mark.parametrize(
    ("finish", "engine", "times"),
    [
        (Finish(4.0), "upscale_4x", 4),
        (Finish(3.0), "upscale_4x", 3),
        (Finish(1.5), "upscale_2x", 1.5),
        (Finish(8.0, "upscale_2x"), "upscale_2x", 8),
        (Finish(2.0, "lanczos"), None, 2),
        (Finish(2.0, "nearest"), None, 2),
    ],
)
async def test_scales_choose_the_engine_and_end_at_the_size(
    repository: Path, finish: Finish, engine: str | None, times: float
) -> None:
    fake_engines = fakes()
    drawn = await illustrator(repository, fake_engines).draw(finishing(PIXELS, finish))
    assert drawn.pictures[0].pixels.shape == (round(50 * times), round(70 * times), 3)
    assert {name for name, _ in fake_engines.calls} == ({engine} if engine else set())


async def test_alpha_is_kept_by_engines_with_and_without_it(repository: Path) -> None:
    alpha = np.zeros((50, 70, 1), np.uint8)
    alpha[10:40, 20:60] = 255
    rgba = np.concatenate([PIXELS, alpha], axis=-1)
    for upscaler, scale in (("upscale_2x", 2), ("upscale_4x", 4), ("lanczos", 2)):
        result = await finished(repository, rgba, Finish(float(scale), upscaler))
        assert result.shape == (50 * scale, 70 * scale, 4)
        assert result[0, 0, 3] == 0
        assert result[25 * scale, 40 * scale, 3] == 255
    opaque = await finished(repository, PIXELS, Finish(2.0))
    assert opaque.shape[2] == 3


def disk(ground: tuple[int, int, int], noise: int = 0) -> NDArray[np.uint8]:
    """A red disk with a hole that shows the ground, with soft edges."""
    rows, columns = np.mgrid[:64, :64] - 31.5
    share = np.clip(20.5 - np.hypot(rows, columns), 0, 1) * np.clip(np.hypot(rows, columns) - 5.5, 0, 1)
    rgb = share[..., None] * (200, 30, 40) + (1 - share[..., None]) * ground
    jitter = np.random.default_rng(1).integers(-noise, noise + 1, rgb.shape) if noise else 0
    return (rgb + jitter).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("ground", [(255, 255, 255), (20, 60, 90)])
@pytest.mark.parametrize("noise", [0, 4])
async def test_plain_ground_is_removed_without_an_engine(
    repository: Path, ground: tuple[int, int, int], noise: int
) -> None:
    result = await finished(repository, disk(ground, noise), Finish(remove_background=True))
    assert result[0, 0, 3] == 0
    assert result[32, 32, 3] == 255  # what the subject encloses stays
    assert result[32, 20, 3] == 255
    assert np.abs(result[32, 20, :3].astype(int) - (200, 30, 40)).max() <= 2 + noise
    edge = result[(result[..., 3] > 40) & (result[..., 3] < 230)]
    assert len(edge) > 10
    assert np.abs(edge[:, :3].astype(int) - (200, 30, 40)).mean() < 40  # the ground is gone from the edges


async def test_other_grounds_need_an_engine(bare: Path, tmp_path: Path) -> None:
    assert without_plain_ground(PIXELS) is None
    assert without_plain_ground(np.full((8, 8, 3), 7, np.uint8)) is None
    with pytest.raises(Unsupported, match="build_engines finish --task background") as raised:
        await finished(bare, PIXELS, Finish(remove_background=True))
    assert raised.value.field == "remove_background"
    finisher = {"matte": {"task": "background", "channels": 3, "side_px": 32}}
    write_finishers(write_family(tmp_path), finisher)
    alpha = np.zeros((1, 32, 32, 1), np.uint8)
    alpha[:, :, 16:] = 255
    fake_engines = fakes(matte=lambda inputs: {"result": alpha})
    drawn = await illustrator(tmp_path, fake_engines).draw(finishing(PIXELS, Finish(remove_background=True)))
    result = drawn.pictures[0].pixels
    assert result.shape == (50, 70, 4)
    assert (result[25, 5, 3], result[25, 65, 3]) == (0, 255)
    assert np.array_equal(result[..., :3], PIXELS)


async def test_faces_need_an_engine(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="build_engines finish --task faces"):
        await finished(bare, PIXELS, Finish(restore_faces=True))
    write_finishers(write_family(tmp_path), {"faces": {"task": "faces", "channels": 3}})
    drawn = await illustrator(tmp_path, fakes(faces=lambda i: {"result": 255 - i["image"]})).draw(
        finishing(PIXELS, Finish(restore_faces=True))
    )
    assert np.array_equal(drawn.pictures[0].pixels, 255 - PIXELS)


async def test_drawings_are_finished(repository: Path) -> None:
    options = IllustrateOptions("red apple", seed=4, n=2)
    plain = await illustrator(repository).draw(options)
    larger = await illustrator(repository).draw(IllustrateOptions("red apple", seed=4, n=2, finish=Finish(4.0)))
    assert larger.model_versions["upscale_4x"] == "3"
    assert larger.parameters.to_json()["finish"] == {"upscale": 4.0}
    for one, other in zip(plain.pictures, larger.pictures, strict=True):
        assert np.array_equal(repeated(4)({"image": one.pixels[None]})["result"][0], other.pixels)


async def test_second_pass_draws_at_the_larger_size(repository: Path) -> None:
    fake_engines = fakes()
    hires = Hires(2.0, strength=0.5, num_inference_steps=4)
    options = IllustrateOptions("red apple", seed=4, n=2, num_inference_steps=6, hires=hires)
    items = [
        item async for item in illustrator(repository, fake_engines).stream(options, StreamOptions(progress_s=1e-9))
    ]
    drawn = items[-1]
    assert isinstance(drawn, Illustration)
    assert [one.pixels.shape for one in drawn.pictures] == [(128, 128, 3)] * 2
    sizes = [inputs["sample"].shape[-1] for engine, inputs in fake_engines.calls if engine == "toy_unet"]
    assert (sizes.count(8), sizes.count(16)) == (12, 4)
    assert drawn.evaluations == 8
    assert drawn.model_versions.keys() >= {"upscale_2x", "toy_vae_encoder"}
    progress = [item for item in items if isinstance(item, Progress)]
    assert {item.steps for item in progress} == {16}
    alone = await illustrator(repository).draw(
        IllustrateOptions("red apple", seed=5, num_inference_steps=6, hires=hires)
    )
    assert np.array_equal(alone.pictures[0].pixels, drawn.pictures[1].pixels)


async def test_second_pass_beyond_the_model_is_refused(repository: Path, bare: Path) -> None:
    options = IllustrateOptions("red", width=512, height=512, hires=Hires(2.0), num_inference_steps=1)
    with pytest.raises(InvalidRequest) as raised:
        await illustrator(repository).draw(options)
    assert raised.value.field == "hires"
    drawn = await illustrator(bare).draw(IllustrateOptions("red", hires=Hires(2.0), num_inference_steps=2))
    assert drawn.pictures[0].pixels.shape == (128, 128, 3)  # enlarged by Lanczos, without an engine


async def test_stored_requests_keep_what_is_finished() -> None:
    for options in (
        finishing(PIXELS, Finish(4.0, "upscale_4x", remove_background=True)),
        IllustrateOptions("red", seed=1, hires=Hires(1.5, 0.4), finish=Finish(2.0)),
    ):
        stored = from_json(IllustrateRequest(options).to_json())
        assert isinstance(stored, IllustrateRequest)
        assert (stored.options.finish, stored.options.hires) == (options.finish, options.hires)
        assert stored.options.draws is options.draws
    plain = IllustrateRequest(IllustrateOptions("red", seed=1)).to_json()["options"]
    assert not plain.keys() & {"finish", "hires", "draws"}


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Finish(0.5), "upscale"),
        (lambda: Finish(9.0), "upscale"),
        (lambda: Finish(float("nan")), "upscale"),
        (lambda: Finish(upscaler="lanczos"), "upscaler"),
        (lambda: Hires(1.0), "scale"),
        (lambda: Hires(5.0), "scale"),
        (lambda: Hires(strength=0), "strength"),
        (lambda: IllustrateOptions("", source=sent(PIXELS), draws=False), "image"),
    ],
)
def test_values_out_of_range_are_refused(make: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        make()
    assert raised.value.field == field


async def test_faults_name_their_field(repository: Path, bare: Path) -> None:
    wide, large = np.zeros((1200, 4000, 3), np.uint8), np.zeros((1200, 1200, 3), np.uint8)
    cases: list[tuple[Path, NDArray[np.uint8], Finish, type[AtelierError], str]] = [
        (repository, PIXELS, Finish(2.0, "best"), InvalidRequest, "upscaler"),
        (bare, PIXELS, Finish(2.0), Unsupported, "upscale"),
        (repository, wide, Finish(4.0), TooLarge, "upscale"),
        (repository, large, Finish(5.0), TooLarge, "upscale"),  # 4 x and 4 x, then reduced
    ]
    for folder, pixels, finish, kind, field in cases:
        with pytest.raises(kind) as raised:
            await finished(folder, pixels, finish)
        assert raised.value.field == field
    with pytest.raises(EngineFailure):
        await illustrator(repository, fakes(upscale_2x=EngineFailure("broken"))).draw(finishing(PIXELS, Finish(2.0)))
    with pytest.raises(TooLarge):
        illustrator(repository).check_inputs("upscale_2x", {"image": np.zeros((1, 64, 64, 4), np.uint8)})


def test_manifest_of_an_unknown_task_is_refused(tmp_path: Path) -> None:
    write_finishers(tmp_path, {"odd": {"task": "paint"}})
    with pytest.raises(ValueError, match="odd"):
        finishers_in(tmp_path)
    assert [one.name for one in finishers_in(write_finishers(tmp_path / "two"))] == sorted(FINISHERS)
