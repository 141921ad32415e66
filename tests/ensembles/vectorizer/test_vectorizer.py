"""The Vectorizer on stand-in engines and real tracers: every tier, routing, and the fields of a result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conversions import DATA, convert, in_module_loop, logo, png
from fake_models import models

from serve.ensembles.vectorizer import conversion
from serve.ensembles.vectorizer.search import Search
from serve.ensembles.vectorizer.vectorization import MAX_TRIALS, is_lasting
from serve.ensembles.vectorizer.vectorizer import Vectorizer
from serve.vector.compare import fidelity, render
from serve.vector.parameters import MAX_REFINE, Parameters, from_candidate


@in_module_loop
@pytest.mark.parametrize("tier", ["auto", 1, 2, 3])
async def test_every_tier_fills_all_fields(vectorizer: Vectorizer, engines: Any, tier: Any) -> None:
    """D-054."""
    made = await convert(vectorizer, tier=tier, validate=True)
    assert render(made.svg, made.width, made.height).shape == (96, 96, 4)
    assert made.actual_quality == pytest.approx(fidelity(logo(), made.svg).ssim, abs=1e-6)
    assert made.actual_quality > 0.95
    assert made.predicted_quality is not None
    assert made.predicted_quality > 0.7
    assert (made.logo_type, made.confidence) == ("simple", pytest.approx(0.7))
    assert made.tier == ("1" if tier == "auto" else str(tier))
    assert made.tracer == "coverage"
    assert made.bytes == len(made.svg.encode())
    assert made.paths >= 1
    assert made.parameters["tolerance"] > 0
    assert len(made.input_sha256) == 64
    assert (made.width, made.height) == (96, 96)
    assert made.degraded == ()
    assert set(made.model_versions) >= {"image_features", "logo_type", "quality", "tier1"}
    assert 0 < sum(made.timings_s.values()) <= made.processing_time_s


@in_module_loop
async def test_higher_tiers_are_not_worse(vectorizer: Vectorizer, engines: Any) -> None:
    found = [await convert(vectorizer, png(logo(3)), tier=tier, validate=True) for tier in (1, 2, 3)]
    qualities = [made.actual_quality or 0 for made in found]
    assert qualities[1] >= qualities[0] - 0.001
    assert qualities[2] >= qualities[1] - 0.001
    assert sum(name == "quality" for name, _ in engines.calls) <= 12


@in_module_loop
async def test_tier_3_tries_all_candidates_of_tier_2(
    vectorizer: Vectorizer, engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, tried = Search.attempt, set()

    async def recording_attempt(search: Search, wanted: Sequence[Parameters], *, measure: bool) -> None:
        tried.update(wanted)
        await attempt(search, wanted, measure=measure)

    monkeypatch.setattr(Search, "attempt", recording_attempt)
    await convert(vectorizer, png(logo(4)), tier=2)
    second = {parameters for parameters in tried if parameters.to_dict().get("refine") != MAX_REFINE}
    tried.clear()
    await convert(vectorizer, png(logo(4)), tier=3)
    assert 4 <= len(second) < len(tried) <= 13
    assert second <= tried


@in_module_loop
async def test_tier_2_scores_a_thousand_candidates_in_one_call(vectorizer: Vectorizer, engines: Any) -> None:
    await convert(vectorizer, tier=2)
    sizes = [inputs["parameters"].shape[1] for name, inputs in engines.calls if name == "quality"]
    assert 1000 in sizes
    assert sum(name == "image_features" for name, _ in engines.calls) == 1


@in_module_loop
async def test_basic_is_plain_vtracer_without_engine_calls(vectorizer: Vectorizer, engines: Any) -> None:
    made = await convert(vectorizer, tier="basic")
    assert (made.tracer, made.tier, made.predicted_quality, made.actual_quality) == ("vtracer", "basic", None, None)
    assert engines.calls == []
    assert made.model_versions == {}


@in_module_loop
async def test_auto_climbs_until_the_target_is_reached(vectorizer: Vectorizer, engines: Any) -> None:
    """F8: auto is not always tier 1."""
    engines.answers = models(quality=0.5)
    assert (await convert(vectorizer, target_quality=0.9)).tier == "3"  # no tier is predicted to reach it: the best one
    engines.answers = models(quality=0.97)
    assert (await convert(vectorizer, target_quality=0.9)).tier == "1"
    assert (await convert(vectorizer, target_quality=0.96)).tier == "2"
    beyond = await convert(vectorizer, target_quality=1.0)
    assert beyond.tier == "3"
    assert any("target_quality" in note for note in beyond.degraded)


@in_module_loop
async def test_analyze_recommends_the_first_tier_of_auto(vectorizer: Vectorizer, engines: Any) -> None:
    analysis = await vectorizer.analyze(DATA)
    assert (analysis.recommended_tier, analysis.logo_type, analysis.method) == ("1", "simple", "trained")
    assert analysis.features["edge_density"] > 0
    assert sum(analysis.probabilities.values()) == pytest.approx(1)
    assert list(analysis.forecasts) == ["1", "2", "3"]
    assert analysis.forecasts["2"].quality > analysis.forecasts["1"].quality > 0.9  # type: ignore[operator]
    assert 0 < analysis.forecasts["1"].seconds < analysis.forecasts["3"].seconds
    engines.answers = models(quality=0.5)
    assert (await vectorizer.analyze(DATA)).recommended_tier == "3"


@in_module_loop
async def test_analysis_is_cached_by_hash(vectorizer: Vectorizer, engines: Any) -> None:
    """D-014."""
    await vectorizer.analyze(DATA)
    await convert(vectorizer, tier=1)
    await vectorizer.analyze(png(logo(1)))
    assert sum(name == "image_features" for name, _ in engines.calls) == 2


@in_module_loop
@pytest.mark.parametrize("tier", ["auto", 1, 2, 3])
async def test_same_bytes_and_options_give_the_same_svg(vectorizer: Vectorizer, engines: Any, tier: Any) -> None:
    first = await convert(vectorizer, png(logo(5)), tier=tier)
    vectorizer._resources.analyzer._cache.clear()
    noise = [convert(vectorizer, png(logo(seed)), tier=2) for seed in range(3)]
    again, *_ = await asyncio.gather(convert(vectorizer, png(logo(5)), tier=tier), *noise)
    assert again.svg == first.svg
    assert again.parameters == first.parameters


@in_module_loop
async def test_many_concurrent_conversions(vectorizer: Vectorizer, engines: Any) -> None:
    """D-052: ten and more at a time, all succeed, each with its own picture."""
    made = await asyncio.gather(*(convert(vectorizer, png(logo(seed)), tier=1) for seed in range(24)))
    assert len({one.input_sha256 for one in made}) == 24
    for seed, one in enumerate(made):
        assert fidelity(logo(seed), one.svg).ssim > 0.95


@in_module_loop
async def test_transparency_is_kept(vectorizer: Vectorizer, engines: Any) -> None:
    rgba = logo(14)
    rgba[(rgba[..., :3] == 255).all(-1), 3] = 0
    for tier in (1, 2, 3, "basic"):
        made = await convert(vectorizer, png(rgba), tier=tier)
        assert render(made.svg, 96, 96)[0, 0, 3] == 0


@in_module_loop
@pytest.mark.parametrize("shape", [(2, 2), (2, 300), (16, 16), (5, 64)])
async def test_small_pictures(vectorizer: Vectorizer, engines: Any, shape: tuple[int, int]) -> None:
    rgba = np.full((*shape, 4), (30, 60, 90, 255), np.uint8)
    for tier in (1, 2, 3, "basic"):
        made = await convert(vectorizer, png(rgba), tier=tier, validate=True)
        assert (made.width, made.height) == (shape[1], shape[0])


@in_module_loop
async def test_measured_trials_are_a_sample_where_they_are_collected(
    vectorizer: Vectorizer, engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D-080."""
    assert (await convert(vectorizer, validate=True)).sample is None
    monkeypatch.setattr(vectorizer, "_resources", replace(vectorizer._resources, collect_samples=True))
    made = await convert(vectorizer, tier=2)
    assert made.sample is not None
    assert np.frombuffer(made.sample.embedding, "<f2").shape == (512,)
    assert 2 < len(made.sample.trials) <= MAX_TRIALS
    *row, ssim, size, paths = made.sample.trials[0]
    assert (ssim, size, paths) == (pytest.approx(made.actual_quality, abs=1e-6), made.bytes, made.paths)
    assert from_candidate(row).to_dict() == pytest.approx(made.parameters, rel=0.01)
    assert (await convert(vectorizer, tier=1)).sample is None  # was not measured
    assert (await convert(vectorizer, tier=1, validate=True, shapes=False)).sample is None


def photograph(side: int = 224) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (side // 4, side // 4, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    return np.dstack([rgb, np.full((side, side), 255, np.uint8)])


@in_module_loop
async def test_photographs_have_a_tracer_of_their_own_and_no_forecast(
    vectorizer: Vectorizer, engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = png(photograph())
    made = {tier: await convert(vectorizer, data, tier=tier, validate=True) for tier in (1, 2, 3, "auto")}
    assert {one.tracer for one in made.values()} == {"pictorial"}
    assert [made[tier].tier for tier in (1, 2, 3)] == ["1", "2", "3"]
    likeness = [made[tier].actual_quality or 0 for tier in (1, 2, 3)]
    assert likeness == sorted(likeness)
    assert all(one.predicted_quality is None and "tier1" not in one.model_versions for one in made.values())
    assert made[3].degraded == ()
    small = await convert(vectorizer, data, tier=3, max_bytes=made[1].bytes // 2)
    assert small.bytes <= made[1].bytes // 2
    few = await convert(vectorizer, data, tier=1, max_paths=40, max_colors=5, title="Moss")
    assert few.paths <= 40
    assert "<title>Moss</title>" in few.svg
    monkeypatch.setattr(conversion, "MAX_SHAPES", 10)
    plain = await convert(vectorizer, data, tier=1, precision=0, group_by="color")
    assert plain.degraded == (
        "precision has no effect in photographs",
        "group_by has no effect on more than 10 shapes",
    )
    assert is_lasting(plain.degraded)
