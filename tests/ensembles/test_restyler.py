"""Style transfer on engines that are functions (C-010, C-012): mixtures, strength, colours, tiles, alpha, bad input."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.illustrator.service import Progress, StreamOptions
from serve.ensembles.requests import IllustrateRequest, from_json
from serve.ensembles.restyler import restyler as restyler_module
from serve.ensembles.restyler.restyle import Restyle, StyleUse, restyle_from_json
from serve.ensembles.restyler.restyler import pooled, with_luma_of
from serve.ensembles.restyler.style_files import read_style_files
from serve.errors import BadImage, InvalidRequest, TooLarge, Unsupported
from serve.settings import IllustratorSettings
from tests.ensembles.drawn_family import write_family
from tests.ensembles.style_engines import statistics, with_style_engines, write_style_engines
from tests.fakes import FakeEngines

Bytes = NDArray[np.uint8]
PIXELS = np.random.default_rng(3).integers(0, 256, (70, 110, 3)).astype(np.uint8)
WARM, COLD = (
    np.random.default_rng(seed).integers(low, high, (32, 40, 3)).astype(np.uint8)
    for seed, low, high in ((1, 150, 250), (2, 10, 60))
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_style_engines(write_family(tmp_path_factory.mktemp("repository")))


def illustrator(repository: Path, fake_engines: FakeEngines | None = None) -> Illustrator:
    settings = IllustratorSettings(model_repository=repository)
    return Illustrator(settings, engines=fake_engines or with_style_engines())  # type: ignore[arg-type]


def sent(pixels: Bytes, name: str = "a.png") -> InputPicture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return InputPicture(name, pixels.shape[1], pixels.shape[0], file.getvalue())


def use(pixels: Bytes, weight: float = 1.0, name: str = "style.png") -> StyleUse:
    return StyleUse(sent(pixels, name), weight)


def restyling(pixels: Bytes, restyle: Restyle, **more: Any) -> IllustrateOptions:
    return IllustrateOptions("", seed=5, source=PictureSource(sent(pixels)), restyle=restyle, draws=False, **more)


async def restyled(repository: Path, pixels: Bytes, restyle: Restyle) -> Bytes:
    return (await illustrator(repository).draw(restyling(pixels, restyle))).pictures[0].pixels


def mean(pixels: Bytes) -> NDArray[Any]:
    return np.asarray(pixels[..., :3].mean((0, 1)))


async def test_a_picture_takes_the_statistics_of_a_style_in_tiles_of_the_engines_size(repository: Path) -> None:
    fake = with_style_engines()
    drawn = await illustrator(repository, fake).draw(restyling(PIXELS, Restyle((use(WARM),))))
    made = drawn.pictures[0].pixels
    assert made.shape == PIXELS.shape
    assert np.abs(mean(made) - mean(WARM)).max() < 2
    tiles = [inputs for engine, inputs in fake.calls if engine == "style_painter"]
    assert len(tiles) == 3 * 3
    assert all(side % 8 == 0 and side <= 64 for inputs in tiles for side in inputs["image"].shape[1:3])
    assert all(np.array_equal(inputs["content"], tiles[0]["content"]) for inputs in tiles)
    assert drawn.model_versions == {"style_painter": "2", "style_encoder": "2"}
    assert drawn.parameters.model == "style_painter"
    stated = drawn.parameters.to_json()["restyle"]
    assert stated == {"styles": [{"picture": {"name": "style.png", "width": 40, "height": 32}, "weight": 1.0,
                                  "name": ""}], "strength": 1.0}  # fmt: skip


async def test_strength_and_weights_mix_statistics(repository: Path) -> None:
    assert np.array_equal(await restyled(repository, PIXELS, Restyle((use(WARM),), strength=0)), PIXELS)
    half = await restyled(repository, PIXELS, Restyle((use(WARM),), strength=0.5))
    assert np.abs(mean(half) - (mean(PIXELS) + mean(WARM)) / 2).max() < 3
    both = Restyle((use(WARM, 1.0, "warm.png"), use(COLD, 3.0, "cold.png")))
    mixed = await restyled(repository, PIXELS, both)
    assert np.abs(mean(mixed) - (0.25 * mean(WARM) + 0.75 * mean(COLD))).max() < 3
    alone = Restyle((use(WARM, 0.0, "warm.png"), use(COLD, 2.0, "cold.png")))
    single = Restyle((use(COLD, name="cold.png"),))
    assert np.array_equal(await restyled(repository, PIXELS, alone), await restyled(repository, PIXELS, single))


async def test_colours_alpha_and_what_the_mask_leaves_out_stay(repository: Path) -> None:
    mask = np.zeros((70, 110), np.uint8)
    mask[:, 60:] = 255
    masked = await restyled(repository, PIXELS, Restyle((use(COLD),), mask=sent(mask, "mask.png")))
    assert np.array_equal(masked[:, :60], PIXELS[:, :60])
    assert mean(masked[:, 60:]).max() < 80
    clear = np.dstack([PIXELS, np.full((70, 110), 255, np.uint8)])
    clear[:20, :, 3], clear[30:40, :, 3] = 0, 128
    made = await restyled(repository, clear, Restyle((use(COLD),)))
    assert np.array_equal(made[..., 3], clear[..., 3])
    grey = PIXELS[..., :1].repeat(3, -1)
    kept = await restyled(repository, grey, Restyle((use(WARM),), preserve_colors=True))
    assert int(np.ptp(kept.astype(int), axis=-1).max()) <= 1
    assert np.abs(mean(kept) - mean(WARM)).max() < 6
    assert np.array_equal(with_luma_of(PIXELS, PIXELS), PIXELS)


async def test_each_region_has_a_style_of_its_own(repository: Path) -> None:
    left, right = np.zeros((70, 110), np.uint8), np.zeros((70, 110), np.uint8)
    left[:, :40], right[:, 70:] = 255, 255
    warm = StyleUse(sent(WARM, "warm.png"), mask=sent(left, "left.png"))
    cold = StyleUse(sent(COLD, "cold.png"), mask=sent(right, "right.png"))
    made = await restyled(repository, PIXELS, Restyle((warm, cold)))
    assert np.array_equal(made[:, 40:70], PIXELS[:, 40:70])
    both = [await restyled(repository, PIXELS, Restyle((use(one, name=name),)))
            for one, name in ((WARM, "warm.png"), (COLD, "cold.png"))]  # fmt: skip
    assert np.array_equal(made[:, :40], both[0][:, :40])
    assert np.array_equal(made[:, 70:], both[1][:, 70:])
    everywhere = Restyle((use(COLD, name="cold.png"), replace(warm, weight=0.5)))
    over = await restyled(repository, PIXELS, everywhere)
    assert np.array_equal(over[:, 40:], both[1][:, 40:])
    half = (both[0].astype(float) + both[1])[:, :40] / 2
    assert np.abs(over[:, :40] - half).max() <= 1
    names = {picture.name: picture.data for picture in everywhere.pictures}
    assert set(names) == {"cold.png", "warm.png", "left.png"}
    assert restyle_from_json(everywhere.to_json()).with_data(names) == everywhere


async def test_progress_counts_tiles_and_styles_are_remembered(repository: Path) -> None:
    fake = with_style_engines()
    ensemble = illustrator(repository, fake)
    options = restyling(PIXELS, Restyle((use(WARM),)))
    items = [item async for item in ensemble.stream(options, StreamOptions(progress_s=0.001))]
    reported = [item for item in items if isinstance(item, Progress)]
    assert {item.steps for item in reported} == {9}
    assert isinstance(items[-1], Illustration)
    encoded = sum(engine == "style_encoder" for engine, _ in fake.calls)
    await ensemble.draw(options)
    assert sum(engine == "style_encoder" for engine, _ in fake.calls) == 2 * encoded - 1


async def test_a_drawing_is_restyled_before_it_is_finished(repository: Path) -> None:
    plain = await illustrator(repository).draw(IllustrateOptions("a fox", seed=1))
    options = IllustrateOptions("a fox", seed=1, restyle=Restyle((use(COLD),)))
    drawn = await illustrator(repository).draw(options)
    assert drawn.pictures[0].pixels.shape[:2] == plain.pictures[0].pixels.shape[:2]
    assert np.abs(mean(drawn.pictures[0].pixels) - mean(COLD)).max() < 12
    assert "style_painter" in drawn.model_versions


async def test_what_cannot_be_used_is_refused_by_its_field(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bare = write_family(tmp_path_factory.mktemp("bare"))
    with pytest.raises(Unsupported, match="build_engines train style"):
        await restyled(bare, PIXELS, Restyle((use(WARM),)))
    for field, make in (
        ("styles[0].image", lambda: Restyle((use(WARM[:1, :1]),))),
        ("styles", lambda: Restyle(())),
        ("styles", lambda: Restyle((use(WARM),) * 5)),
        ("styles", lambda: Restyle((use(WARM, 0.0),))),
        ("styles[1].weight", lambda: Restyle((use(WARM), use(COLD, -1.0)))),
        ("strength", lambda: Restyle((use(WARM),), strength=1.5)),
    ):
        with pytest.raises(InvalidRequest) as refused:
            make()
        assert refused.value.field == field
    broken = StyleUse(InputPicture("broken.png", 40, 40, sent(WARM).data[:200]))
    with pytest.raises(BadImage) as unread:
        await restyled(repository, PIXELS, Restyle((use(WARM), broken)))
    assert unread.value.field == "styles[1].image"


def test_a_stored_request_is_the_same_without_contents() -> None:
    request = IllustrateRequest(restyling(PIXELS, Restyle((use(WARM, 2.0),), 0.5, True, sent(COLD, "mask.png"))))
    stored = from_json(request.to_json())
    assert isinstance(stored, IllustrateRequest)
    assert stored.to_json() == request.to_json()
    assert stored.inputs == ["a.png", "style.png", "mask.png"]
    data = {picture.name: picture.data for picture in request.options.input_pictures}
    loaded = stored.with_inputs(data).options.restyle
    assert loaded == request.options.restyle
    assert loaded is not None
    assert loaded.pictures[0].data == sent(WARM).data


def test_statistics_of_parts_are_pooled_to_those_of_the_whole() -> None:
    parts = [PIXELS[:, :40], PIXELS[:, 40:]]
    found = np.concatenate([statistics({"image": part[None]})["statistics"] for part in parts])
    whole = statistics({"image": PIXELS[None]})["statistics"][0]
    assert np.allclose(pooled(found, np.array([40.0, 70.0])), whole, rtol=1e-4)


def test_style_files_replace_built_in_ones_and_name_what_is_wrong(tmp_path: Path) -> None:
    def write(name: str, table: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "styles.toml").write_text(table)
        (folder / "one.png").write_bytes(sent(WARM).data)
        return folder

    entry = '[[style]]\nname = "{}"\ntitle = "{}"\npicture = "one.png"\ncolors = ["#000000", "#ffffff"]\n'
    first, second = write("first", entry.format("one", "First")), write("second", entry.format("one", "Second"))
    assert read_style_files([first, second])["one"].entry.title == "Second"
    for name, table, reason in (
        ("toml", "[[style", "is no list of"),
        ("name", entry.format("../x", "X"), "style.name"),
        ("picture", entry.format("x", "X").replace("one.png", "absent.png"), "absent.png cannot be read"),
        ("escape", entry.format("x", "X").replace("one.png", "../first/one.png"), "style.picture"),
        ("colour", entry.format("x", "X").replace("#000000", "red"), "style.colors"),
    ):
        with pytest.raises(InvalidRequest, match=reason):
            read_style_files([write(name, table)])


async def test_the_statistics_of_styles_are_kept_up_to_a_size(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restyler_module, "MAX_STYLE_BYTES_IN_MEMORY", 2 * 6 * 4)  # those of two styles
    fake = with_style_engines()
    painter = illustrator(repository, fake)

    async def encoded(name: str) -> int:
        before = len([engine for engine, _ in fake.calls if engine == "style_encoder"])
        await painter.draw(restyling(COLD, Restyle((use(WARM, name=name),))))
        return len([engine for engine, _ in fake.calls if engine == "style_encoder"]) - before

    own = await encoded("a") - 1  # the picture's
    assert [await encoded(name) - own for name in ("a", "b", "a", "c", "a", "b")] == [0, 1, 0, 1, 0, 1]


def test_direct_inferences_of_optimising_engines_are_bounded(tmp_path: Path) -> None:
    repository = write_family(tmp_path)
    for name in ("vgg_describe", "vgg_gradient"):
        (repository / name).mkdir()
        stated = {"optimisation": {"step_px": 16, "max_side_px": 512}}
        (repository / name / "manifest.json").write_text(json.dumps({"name": name, "version": "1", **stated}))
    served = illustrator(repository)
    for name in ("vgg_describe", "vgg_gradient"):
        served.check_inputs(name, {"image": np.zeros((1, 512, 512, 3), np.float32), "grams": np.zeros((1, 9_000))})
        with pytest.raises(TooLarge, match="512 px"):
            served.check_inputs(name, {"image": np.zeros((1, 16, 1600, 3), np.float32)})
