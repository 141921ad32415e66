"""What the loop around the samplers relies on: any number of steps, batches, checkpoints, names, clear refusals."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from diffusers_reference import CONFIGS, FLOW, SD15, SEED, SHAPE, model, ours, picture, trajectory_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serve.diffusion.noise import LATENTS, gaussian, step_draw
from serve.diffusion.samplers import SAMPLERS, Array, Sampler, State, Trajectory, by_name
from serve.diffusion.schedules import NoiseSchedule
from serve.errors import InvalidRequest

PAIRS = [(sampler, prediction) for sampler in SAMPLERS for prediction in sampler.predictions]
IDS = [f"{sampler.name}-{prediction}" for sampler, prediction in PAIRS]
each_pair = pytest.mark.parametrize(("sampler", "prediction"), PAIRS, ids=IDS)


def schedule(prediction: str, **changed: Any) -> NoiseSchedule:
    return NoiseSchedule.model_validate({**SD15, **FLOW, "prediction_type": prediction, **changed})


def answer(prediction: str, x0: Array, trajectory: Trajectory, sample: Array, i: int) -> Array:
    """What a model that knows ``x0`` answers."""
    level = trajectory.levels[i]
    noise = (sample - level.alpha * x0) / level.sigma
    if prediction == "epsilon":
        return noise
    if prediction == "flow":
        return noise - x0
    scale = np.hypot(level.alpha, level.sigma)
    return np.float32(level.alpha / scale) * noise - np.float32(level.sigma / scale) * x0


@each_pair
def test_a_model_that_knows_the_picture_gets_it_back(sampler: Sampler, prediction: str) -> None:
    trajectory = sampler.trajectory(schedule(prediction, set_alpha_to_one=True), 12)
    x0, state = picture(), {}
    sample = trajectory.start(gaussian(SEED, LATENTS, SHAPE))
    for i in range(len(trajectory)):
        output = answer(prediction, x0, trajectory, sample, i)
        assert np.allclose(trajectory.predict_x0(output, sample, i), x0, atol=1e-3)
        noise = gaussian(SEED, step_draw(i), SHAPE) if trajectory.stochastic else None
        sample, state = trajectory.step(state, output, sample, i, noise)
    assert np.allclose(sample, x0, atol=1e-3)


@settings(max_examples=60)
@given(
    st.sampled_from(PAIRS),
    st.integers(1, 1000),
    st.floats(0, 1, exclude_min=True),
    st.sampled_from(["leading", "trailing", "linspace", None]),
    st.booleans(),
)
@example((by_name("unipc"), "epsilon"), 1000, 1.0, "leading", False)
@example((by_name("unipc"), "v_prediction"), 1000, 1.0, "linspace", False)
@example((by_name("dpmpp_2m"), "epsilon"), 999, 1.0, "leading", False)
@example((by_name("unipc"), "flow"), 1000, 1.0, None, False)
@example((by_name("lcm"), "epsilon"), 1000, 0.001, None, False)
def test_any_number_of_steps_is_finite(
    pair: tuple[Sampler, str], steps: int, strength: float, spacing: str | None, karras: bool
) -> None:
    sampler, prediction = pair
    options = {"timestep_spacing": spacing, "use_karras_sigmas": karras}
    trajectory = sampler.trajectory(schedule(prediction, **options), steps, strength)
    asked = max(1, int(steps * strength))
    assert len(trajectory) == (2 * asked - 1 if sampler.name == "heun" else asked)
    assert trajectory.timesteps.min() >= 0
    assert trajectory.timesteps.max() <= 1000
    samples = ours(trajectory, picture() if strength < 1 else None)
    assert all(np.isfinite(sample).all() and sample.dtype == np.float32 for sample in samples)


@each_pair
def test_a_picture_is_the_same_alone_and_beside_others(sampler: Sampler, prediction: str) -> None:
    """To the last bit: nothing in a step mixes pictures."""
    trajectory = sampler.trajectory(schedule(prediction), 7)
    shape = (3, *SHAPE)
    sample = np.stack([trajectory.start(gaussian(seed, LATENTS, SHAPE)) for seed in range(3)])
    state: State = {}
    for i, timestep in enumerate(trajectory.timesteps):
        scaled = trajectory.scale_model_input(sample, i)
        output = np.stack([model(one, float(timestep)) for one in scaled])
        noise = np.stack([gaussian(seed, step_draw(i), SHAPE) for seed in range(3)])
        sample, state = trajectory.step(state, output, sample, i, noise if trajectory.stochastic else None)
    assert sample.shape == shape
    for seed in range(3):
        assert (ours(trajectory, seed=seed)[-1] == sample[seed]).all()


def stored(arrays: dict[str, Array]) -> dict[str, Array]:
    """Through a file that holds plain arrays only."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        return dict(loaded)


@each_pair
def test_a_run_continues_from_plain_arrays_and_an_index(sampler: Sampler, prediction: str) -> None:
    config, steps = schedule(prediction), 5
    trajectory = sampler.trajectory(config, steps)
    sample, state = trajectory.start(gaussian(SEED, LATENTS, SHAPE)), {}
    for i, timestep in enumerate(trajectory.timesteps):
        output = model(trajectory.scale_model_input(sample, i), float(timestep))
        noise = gaussian(SEED, step_draw(i), SHAPE) if trajectory.stochastic else None
        for array in (sample, output, *state.values()):
            array.setflags(write=False)  # a step that writes into what it was given fails
        sample, state = by_name(sampler.name).trajectory(config, steps).step(state, output, sample, i, noise)
        restored = stored({"sample": sample, **{f"state.{name}": array for name, array in state.items()}})
        sample, state = restored.pop("sample"), {name[len("state.") :]: array for name, array in restored.items()}
    assert (sample == ours(trajectory)[-1]).all()


def test_heun_evaluates_twice_a_step_but_for_the_last() -> None:
    trajectory = trajectory_of("heun", CONFIGS["sdxl"], 3)
    assert len(trajectory) == 5
    assert trajectory.timesteps.tolist() == [667, 334, 334, 1, 1]


def test_noise_is_required_where_it_is_added() -> None:
    for name in ("euler_a", "lcm"):
        trajectory = trajectory_of(name, CONFIGS["sd15"], 4)
        assert trajectory.stochastic
        with pytest.raises(ValueError, match="needs noise"):
            trajectory.step({}, picture(), picture(), 0, None)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ddim", "ddim"),
        ("DDIM", "ddim"),
        ("Euler a", "euler_a"),
        ("euler_ancestral", "euler_a"),
        ("k_euler_a", "euler_a"),
        ("Euler", "euler"),
        ("heun", "heun"),
        ("DPM++ 2M", "dpmpp_2m"),
        ("dpmpp_2m", "dpmpp_2m"),
        ("DPM++ 2M Karras", "dpmpp_2m_karras"),
        ("UniPC", "unipc"),
        ("UniPCMultistepScheduler", "unipc"),
        ("LCM", "lcm"),
        ("flow-match Euler", "flow_euler"),
        ("FlowMatchEulerDiscreteScheduler", "flow_euler"),
    ],
)
def test_samplers_have_the_names_people_use(written: str, name: str) -> None:
    assert by_name(written).name == name


def test_no_two_samplers_share_a_name() -> None:
    names = [name for sampler in SAMPLERS for name in (sampler.name, sampler.title, *sampler.aliases)]
    assert all(by_name(name) is sampler for sampler in SAMPLERS for name in (sampler.name, sampler.title))
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["", "euler b", "x" * 10_000])
def test_an_unknown_sampler_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(InvalidRequest, match="ddim, euler, euler_a, heun, dpmpp_2m") as caught:
        by_name(name)
    assert caught.value.field == "sampler"


def test_a_sampler_that_does_not_serve_the_model_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"those that do: euler, .*flow_euler") as caught:
        by_name("ddim").trajectory(schedule("flow"), 10)
    assert caught.value.field == "sampler"


def test_eulers_method_goes_the_long_steps_that_a_model_was_taught() -> None:
    """Noise levels evenly spaced and shifted, timesteps of their own; any other number of steps are the usual ones."""
    taught = schedule("flow", shift=4.0, few_step={"steps": 4, "timestep_offset": 2000})
    for name in ("euler", "flow_euler"):
        trajectory = by_name(name).trajectory(taught, 4)
        assert trajectory.timesteps == pytest.approx(2000 + 1000 * np.array([1, 12 / 13, 0.8, 4 / 7]), abs=1e-2)
        assert trajectory.levels.next_sigmas == pytest.approx([12 / 13, 0.8, 4 / 7, 0.0])
    usual = schedule("flow", shift=4.0)
    for name, steps in (("euler", 5), ("heun", 4), ("unipc", 4)):
        same = [by_name(name).trajectory(one, steps).timesteps for one in (taught, usual)]
        assert np.array_equal(*same)


@pytest.mark.parametrize("steps", [0, -1, 1001, 10_000, True, 2.5, float("nan")])
def test_a_wrong_number_of_steps_is_refused(steps: Any) -> None:
    with pytest.raises(InvalidRequest, match="from 1 to 1000") as caught:
        by_name("ddim").trajectory(schedule("epsilon"), steps)
    assert caught.value.field == "num_inference_steps"


@pytest.mark.parametrize("strength", [0, -0.1, 1.01, True, "1", float("nan"), float("inf")])
def test_a_wrong_strength_is_refused(strength: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        by_name("ddim").trajectory(schedule("epsilon"), 10, strength)
    assert caught.value.field == "strength"
