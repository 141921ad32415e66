"""The batch cap: computed from a measured curve, and stored in the engine's config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_onnx
from typer.testing import CliRunner

from serve.cli.main import app
from serve.diffusion.tokens import MAX_CHUNKS
from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer
from serve.ensembles.batch_profile import FILE, Profile, _possible, cap, profile, store
from serve.errors import InvalidRequest, NotFound

BATCHING = "dynamic_batching {\n  preferred_batch_size: [ 4, 8 ]\n  max_queue_delay_microseconds: 0\n}"


def test_cap_is_the_smallest_nearly_optimal_batch() -> None:
    assert cap({1: 10, 2: 12, 4: 16, 8: 31, 16: 62}) == 4  # a device that saturates at four
    assert cap({1: 10, 2: 19.5, 4: 39, 8: 79}) == 2  # a CPU: batching gains nothing
    assert cap({1: 10, 2: 10, 4: 10, 8: 10.2}) == 8  # an accelerator far from saturation
    assert cap({1: 10}) == 2


@pytest.mark.triton
async def test_profile_sets_the_cap_in_the_config(tmp_path: Path) -> None:
    tiny_onnx.affine(tmp_path, "affine", "onnxruntime", extra=BATCHING)
    seen: list[int] = []
    found = await profile(
        tmp_path, "affine", "a test", sizes=(1, 2, 4), seconds=0.05, report=lambda size, _: seen.append(size)
    )
    assert seen == list(found.milliseconds) == [1, 2, 4]
    assert all(ms > 0 for ms in found.milliseconds.values())
    assert found.shapes == {"x": (4,)}
    chosen = Profile("affine", "a test", found.shapes, found.milliseconds, 2, found.measured)
    store(tmp_path, chosen)
    assert json.loads((tmp_path / "affine" / FILE).read_text())["milliseconds"]["4"] == found.milliseconds[4]
    with TritonServer(tmp_path, ["affine"]) as server:
        client = EngineClient(server.url)
        config = await client.config("affine")
        await client.close()
    assert config["max_batch_size"] == 2
    assert config["dynamic_batching"]["preferred_batch_size"] == [2]
    assert chosen.gain == pytest.approx(2 * found.milliseconds[1] / found.milliseconds[2])


@pytest.mark.triton
async def test_cap_of_a_text_encoder_covers_every_chunk_of_a_prompt(tmp_path: Path) -> None:
    tiny_onnx.affine(tmp_path, "x_text_encoder", "onnxruntime")
    found = await profile(tmp_path, "x_text_encoder", "a test", sizes=(1, 2), seconds=0.02)
    assert list(found.milliseconds) == [1, 2, MAX_CHUNKS]
    assert found.max_batch_size == MAX_CHUNKS


def test_plan_is_not_profiled_beyond_its_batch_size() -> None:
    assert _possible('backend: "tensorrt"\nmax_batch_size: 4', [1, 2, 4, 8, 16]) == [1, 2, 4]
    assert _possible('backend: "onnxruntime"\nmax_batch_size: 4', [1, 2, 4, 8]) == [1, 2, 4, 8]


async def test_engines_that_cannot_be_profiled_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no engine"):
        await profile(tmp_path, "none", "a test")
    tiny_onnx.affine(tmp_path, "whole", "onnxruntime", max_batch_size=0)
    with pytest.raises(InvalidRequest, match="no batches"):
        await profile(tmp_path, "whole", "a test")


@pytest.mark.triton
def test_profile_command_stores_its_result_without_dry_run(tmp_path: Path) -> None:
    tiny_onnx.affine(tmp_path, "affine", "onnxruntime", extra=BATCHING)
    arguments = ["profile", "affine", "--seconds", "0.1", "--largest", "2", "--repository", str(tmp_path)]
    dry = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert not (tmp_path / "affine" / FILE).exists()
    kept = CliRunner().invoke(app, [*arguments, "--device", "a test"])
    assert kept.exit_code == 0, kept.output
    assert "Batch cap 2" in kept.output
    assert json.loads((tmp_path / "affine" / FILE).read_text())["device"] == "a test"
    missing = CliRunner().invoke(app, ["profile", "none", "--repository", str(tmp_path)])
    assert missing.exit_code == 1
    assert "there is no engine 'none'" in missing.output
