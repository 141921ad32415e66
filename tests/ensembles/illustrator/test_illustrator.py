"""The Illustrator on engines that are functions: its engine calls, cancellation, reproducibility (A-001, A-007)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from waiting import until

from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.service import Preview
from serve.errors import (
    AtelierError,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    UnsupportedOperation,
)
from serve.settings import IllustratorSettings
from tests.colour_encoders import write_encoders
from tests.ensembles.drawn_family import FAMILY, denoise, engines, write_family
from tests.fakes import FakeEngines

RED = IllustrateOptions("red apple", seed=1)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("repository"))


def illustrator(repository: Path, fake_engines: FakeEngines | None = None, **settings: Any) -> Illustrator:
    chosen = IllustratorSettings(model_repository=repository, **settings)
    return Illustrator(chosen, engines=fake_engines or engines())  # type: ignore[arg-type]


class Slow(FakeEngines):
    """Takes a moment for every denoising step, and records the calls."""

    step_s = 0.02

    async def infer(self, engine: str, inputs: Any, **options: Any) -> dict[str, NDArray[Any]]:
        answer = await super().infer(engine, inputs, **options)
        await asyncio.sleep(self.step_s if engine == "toy_unet" else 0)
        return answer


def steps_of(fake_engines: FakeEngines) -> list[Mapping[str, NDArray[Any]]]:
    return [inputs for engine, inputs in fake_engines.calls if engine == "toy_unet"]


async def test_every_step_is_one_request_with_both_guidance_rows(repository: Path) -> None:
    fake_engines = engines()
    drawn = await illustrator(repository, fake_engines).draw(RED)
    steps = steps_of(fake_engines)
    assert len(steps) == drawn.evaluations == 6
    assert all(step["sample"].shape == (2, 3, 8, 8) and step["timestep"].shape == (2, 1) for step in steps)
    assert all(step["encoder_hidden_states"].shape == (2, 8, 4) for step in steps)
    assert np.array_equal(steps[0]["sample"][0], steps[0]["sample"][1])
    assert drawn.pictures[0].pixels.shape == (64, 64, 3)
    assert (drawn.tokens, drawn.parameters.sampler, drawn.parameters.guidance_scale) == (2, "ddim", 3.0)
    assert drawn.model_versions == {"toy_text_encoder": "7", "toy_unet": "7", "toy_vae_decoder": "7"}


async def test_without_guidance_each_step_has_one_row(repository: Path) -> None:
    fake_engines = engines()
    drawn = await illustrator(repository, fake_engines).draw(
        IllustrateOptions("red", negative_prompt="pear", guidance_scale=1)
    )
    assert {len(step["sample"]) for step in steps_of(fake_engines)} == {1}
    assert drawn.negative_tokens == 0


async def test_sixteen_concurrent_requests_equal_their_single_runs(repository: Path) -> None:
    """Different steps, samplers, guidance and seeds; exact here, since rows do not depend on each other."""
    samplers = ("ddim", "euler", "euler_a", "heun", "dpmpp_2m", "unipc", "lcm", "dpmpp_2m_karras")
    wanted = [
        IllustrateOptions(
            "red apple" if i % 3 else "green pear , flat",
            sampler=samplers[i % 8],
            num_inference_steps=4 + i,
            guidance_scale=1.0 + i / 2,
            seed=100 + i,
            width=64 if i % 2 else 96,
        )
        for i in range(16)
    ]
    one = illustrator(repository)
    together = await asyncio.gather(*(one.draw(options) for options in wanted))
    for options, drawn in zip(wanted, together, strict=True):
        alone = await illustrator(repository).draw(options)
        assert np.array_equal(alone.pictures[0].pixels, drawn.pictures[0].pixels)


async def test_each_of_n_pictures_can_be_drawn_alone(repository: Path) -> None:
    four = await illustrator(repository).draw(IllustrateOptions("red apple", seed=5, n=4, sampler="euler_a"))
    assert [picture.seed for picture in four.pictures] == [5, 6, 7, 8]
    for picture in four.pictures:
        options = IllustrateOptions("red apple", seed=picture.seed, sampler="euler_a")
        alone = await illustrator(repository).draw(options)
        assert np.array_equal(alone.pictures[0].pixels, picture.pixels)
    assert not np.array_equal(four.pictures[0].pixels, four.pictures[1].pixels)


async def test_candidates_are_chosen_by_the_engines_that_rank(tmp_path: Path) -> None:
    own = write_encoders(write_family(tmp_path))
    options = IllustrateOptions("red apple", seed=5, sampler="euler_a", candidates=4)
    with pytest.raises(UnsupportedOperation, match="train search"):
        await illustrator(own, ranking_engines=None).draw(options)
    chosen = (await illustrator(own).draw(options)).pictures[0]
    four = (await illustrator(own).draw(replace(options, candidates=1, n=4))).pictures
    reds = [picture.pixels.reshape(-1, 3).mean(0) for picture in four]
    reds = [mean[0] / np.linalg.norm(mean) for mean in reds]
    assert chosen.seed == 5 + int(np.argmax(reds))
    assert chosen.fit == pytest.approx(max(reds), abs=0.05)
    unknown = (await illustrator(own).draw(replace(options, prompt="pear"))).pictures[0]
    assert (unknown.seed, unknown.fit) == (5, None)


async def test_random_seed_is_reported(repository: Path) -> None:
    first, second = [await illustrator(repository).draw(IllustrateOptions("red", seed=s)) for s in (None, -1)]
    assert first.parameters.seed != second.parameters.seed
    again = await illustrator(repository).draw(IllustrateOptions("red", seed=first.parameters.seed))
    assert np.array_equal(again.pictures[0].pixels, first.pictures[0].pixels)


async def test_prompt_is_encoded_once(repository: Path) -> None:
    fake_engines = engines()
    one = illustrator(repository, fake_engines)
    for seed in range(3):
        await one.draw(IllustrateOptions("red apple", seed=seed))
    assert sum(engine == "toy_text_encoder" for engine, _ in fake_engines.calls) == 2  # the prompt and the empty one


async def test_long_prompt_is_encoded_in_chunks(repository: Path) -> None:
    fake_engines = engines()
    drawn = await illustrator(repository, fake_engines).draw(IllustrateOptions("red apple " * 8, seed=1))
    assert drawn.tokens == 16
    assert steps_of(fake_engines)[0]["encoder_hidden_states"].shape == (2, 3 * 8, 4)


async def test_cancellation_stops_within_one_step(repository: Path) -> None:
    fake_engines = Slow(engines().answers)
    drawing = asyncio.create_task(
        illustrator(repository, fake_engines).draw(IllustrateOptions("red", num_inference_steps=200, n=2))
    )
    await until(lambda: bool(steps_of(fake_engines)))
    drawing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await drawing
    begun = len(steps_of(fake_engines))
    await asyncio.sleep(0.1)
    assert 0 < begun < 30
    assert len(steps_of(fake_engines)) == begun


async def test_deadline_is_checked_between_steps(repository: Path) -> None:
    fake_engines = Slow(engines().answers)
    with pytest.raises(DeadlineExceeded):
        await illustrator(repository, fake_engines).draw(
            IllustrateOptions("red", num_inference_steps=500, timeout_s=0.2)
        )
    begun = len(steps_of(fake_engines))
    assert begun < 100
    await asyncio.sleep(0.1)
    assert len(steps_of(fake_engines)) == begun


async def test_previews_are_ordered_and_precede_the_picture(repository: Path) -> None:
    options = IllustrateOptions("red apple", seed=3, n=2, num_inference_steps=10, preview_every=3)
    items = [item async for item in illustrator(repository).stream(options)]
    assert isinstance(items[-1], Illustration)
    previews = [item for item in items[:-1] if isinstance(item, Preview)]
    assert len(previews) == len(items) - 1 == 6
    for index in (0, 1):
        assert [(p.step, p.steps) for p in previews if p.index == index] == [(3, 10), (6, 10), (9, 10)]
    plain = await illustrator(repository).draw(IllustrateOptions("red apple", seed=3, n=2, num_inference_steps=10))
    assert np.array_equal(plain.pictures[1].pixels, items[-1].pictures[1].pixels)


async def test_previews_of_large_pictures_are_small(repository: Path) -> None:
    options = IllustrateOptions("red", num_inference_steps=2, preview_every=1, width=512, height=256)
    preview = await anext(illustrator(repository).stream(options))
    assert isinstance(preview, Preview)
    assert preview.pixels.shape == (128, 256, 3)


async def test_number_of_previews_is_bounded(repository: Path) -> None:
    """With a slow reader, all of them wait in memory."""
    options = IllustrateOptions("red", n=10, num_inference_steps=200, preview_every=1)
    fake_engines = engines()
    with pytest.raises(InvalidRequest, match="1990") as raised:
        await anext(illustrator(repository, fake_engines).stream(options))
    assert raised.value.field == "preview_every"
    assert not steps_of(fake_engines)


async def test_closing_the_stream_ends_the_drawing(repository: Path) -> None:
    fake_engines = Slow(engines().answers)
    stream = illustrator(repository, fake_engines).stream(
        IllustrateOptions("red", num_inference_steps=500, preview_every=1)
    )
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    begun = len(steps_of(fake_engines))
    await asyncio.sleep(0.1)
    assert len(steps_of(fake_engines)) == begun < 20


async def test_error_before_the_first_preview_is_raised(repository: Path) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await anext(illustrator(repository).stream(IllustrateOptions("red", sampler="magic", preview_every=1)))
    assert raised.value.field == "sampler"


async def test_drawing_survives_an_engine_restart(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that a killed Triton was computing is repeated: no step is lost, and the picture is the same."""
    monkeypatch.setattr("serve.ensembles.engine_calls.RETRY_S", 0.01)
    fake_engines, gone = engines(), iter([False, False, True, True, True])

    def fail_sometimes(inputs: Mapping[str, NDArray[Any]]) -> Any:
        if next(gone, False):
            raise EngineUnavailable("the stub was killed")
        return denoise(inputs)

    fake_engines.answers["toy_unet"] = fail_sometimes
    drawn = await illustrator(repository, fake_engines).draw(RED)
    plain = await illustrator(repository).draw(RED)
    assert np.array_equal(drawn.pictures[0].pixels, plain.pictures[0].pixels)


async def test_engines_that_stay_unavailable_are_an_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.ensembles.engine_calls.RESTART_TIMEOUT_S", 0.05)
    monkeypatch.setattr("serve.ensembles.engine_calls.RETRY_S", 0.01)
    fake_engines = engines()
    fake_engines.answers["toy_unet"] = EngineUnavailable("gone")
    with pytest.raises(EngineUnavailable, match="gone"):
        await illustrator(repository, fake_engines).draw(IllustrateOptions("red", n=3))


async def test_values_that_are_not_finite_are_an_engine_failure(repository: Path) -> None:
    fake_engines = engines()
    fake_engines.answers["toy_unet"] = lambda inputs: {"noise_pred": np.full_like(inputs["sample"], np.nan)}
    with pytest.raises(EngineFailure, match="finite"):
        await illustrator(repository, fake_engines).draw(RED)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("prompt", {"prompt": " "}),
        ("prompt", {"prompt": "x" * 100_000}),
        ("prompt", {"prompt": "red apple " * 100}),
        ("negative_prompt", {"negative_prompt": "(red:99)"}),
        ("width", {"width": 0}),
        ("width", {"width": 10**9}),
        ("width", {"width": 65}),
        ("height", {"height": 1024}),
        ("num_inference_steps", {"num_inference_steps": 0}),
        ("num_inference_steps", {"num_inference_steps": 10_000}),
        ("guidance_scale", {"guidance_scale": float("nan")}),
        ("guidance_scale", {"guidance_scale": -1.0}),
        ("sampler", {"sampler": "magic"}),
        ("sampler", {"sampler": "flow_euler"}),
        ("seed", {"seed": -2}),
        ("seed", {"seed": 2**63}),
        ("n", {"n": 11}),
        ("n", {"n": True}),
        ("timeout_s", {"timeout_s": 0.0}),
    ],
)
async def test_invalid_request_names_its_field(repository: Path, field: str, options: dict[str, Any]) -> None:
    fake_engines = engines()
    with pytest.raises(InvalidRequest) as raised:
        await illustrator(repository, fake_engines).draw(IllustrateOptions(**{"prompt": "red", **options}))
    assert raised.value.field == field
    assert not steps_of(fake_engines)


async def test_unknown_model_error_lists_models_and_the_build_command(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there are: toy\. build one with `python -m build_engines") as raised:
        await illustrator(repository).draw(IllustrateOptions("red", model="sdxl"))
    assert raised.value.field == "model"
    with pytest.raises(NotFound, match="no illustration model here"):
        await illustrator(tmp_path).draw(RED)


def test_missing_required_family_fails_the_start(tmp_path: Path) -> None:
    with pytest.raises(AtelierError, match="no model 'sdxl'"):
        illustrator(tmp_path, families=("sdxl",))


async def test_family_with_missing_files_is_left_out_with_a_reason(repository: Path, tmp_path: Path) -> None:
    """D-042: absent engines are a 404 that names the build command, and the other families are served."""
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    (tmp_path / "toy_text_encoder" / "tokenizer.json").unlink()
    made = illustrator(tmp_path)
    assert await made.families() == ()
    for model in (None, "toy"):
        with pytest.raises(NotFound, match="'toy' lacks toy_text_encoder/tokenizer\\.json; build one with") as refused:
            await made.draw(IllustrateOptions("red apple", model=model))
        assert refused.value.field == "model"


async def test_families_describe_their_options(repository: Path) -> None:
    (info,) = await illustrator(repository).families()
    assert (info.name, info.version, info.width, info.created) == ("toy", "7", 64, 1_795_262_400)
    assert "flow_euler" not in info.samplers
    assert [info.nearest(side) for side in (1, 63, 68, 69, 9999)] == [32, 64, 64, 72, 512]


async def test_health_probes_every_engine(repository: Path) -> None:
    fake_engines = engines()
    one = illustrator(repository, fake_engines)
    assert (await one.health()).ready
    fake_engines.answers["toy_unet"] = EngineUnavailable("gone")
    one._health = None
    health = await one.health()
    assert not health.ready
    assert health.engines["toy_unet"].reason


def test_sdxl_gets_zero_embeds_for_empty_prompt_and_its_sizes(tmp_path: Path) -> None:
    """Podell et al. 2023, section 2.2; diffusers' force_zeros_for_empty_prompt."""
    second = {**FAMILY["text"][0], "engine": "toy_text_encoder_2", "pooled_width": 2}
    family = {
        **FAMILY,
        "class": "stable-diffusion-xl",
        "text": [FAMILY["text"][0], second],
        "zeros_for_no_prompt": True,
    }
    fake_engines = engines()
    encode = fake_engines.answers["toy_text_encoder"]
    fake_engines.answers["toy_text_encoder_2"] = lambda inputs: {
        **encode(inputs),  # type: ignore[operator]
        "pooled_prompt_embeds": np.ones((len(inputs["input_ids"]), 2), np.float32),
    }
    repository = write_family(tmp_path, family)
    asyncio.run(illustrator(repository, fake_engines).draw(IllustrateOptions("red", seed=1, width=96)))
    step = steps_of(fake_engines)[0]
    assert step["encoder_hidden_states"].shape == (2, 8, 8)
    assert not step["encoder_hidden_states"][0].any()
    assert step["text_embeds"].tolist() == [[0, 0], [1, 1]]
    assert step["time_ids"].tolist() == [[64, 96, 0, 0, 64, 96]] * 2
