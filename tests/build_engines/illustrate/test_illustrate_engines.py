"""Checkpoints of every class through the real command; its engines against torch and against diffusers' pipelines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from built import ADAPTED, MAKERS, Built
from checkpoints import ORIGIN
from google.protobuf import text_format
from tokenizers import Tokenizer
from tritonclient.grpc import model_config_pb2

from serve.diffusion import family as families
from serve.engines.adapter_files import IDS, SCALES
from serve.engines.client import EngineClient
from serve.engines.triton.server import TritonServer

pytestmark = pytest.mark.slow


def parts(name: str) -> list[str]:
    second = ["text_encoder_2"] if name.startswith("sdxl") else []
    images = ["image_encoder"] if name in ADAPTED else []
    return ["text_encoder", *second, "unet", "vae_decoder", "vae_encoder", *images]


@pytest.mark.parametrize("name", MAKERS)
def test_config_agrees_with_the_onnx_and_batches(built: Callable[[str], Built], name: str) -> None:
    types = {
        onnx.TensorProto.FLOAT: "TYPE_FP32",
        onnx.TensorProto.UINT8: "TYPE_UINT8",
        onnx.TensorProto.INT32: "TYPE_INT32",
    }
    assert sorted(p.name for p in built(name).repository.iterdir()) == sorted(f"{name}_{p}" for p in parts(name))
    for part in parts(name):
        folder = built(name).engine(part)
        config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        graph = onnx.load(str(folder / "1" / "model.onnx")).graph
        takes_adapters = name in ADAPTED and part in ("text_encoder", "text_encoder_2", "unet")
        assert [t.name for t in config.input if t.optional] == [IDS, SCALES] * takes_adapters
        assert (folder / "1" / "adapted.onnx").is_file() == takes_adapters
        own = [t for t in config.input if not t.optional]
        for declared, provided in ((own, graph.input), (config.output, graph.output)):
            assert [(t.name, model_config_pb2.DataType.Name(t.data_type), [-1, *t.dims]) for t in declared] == [
                (v.name, types[v.type.tensor_type.elem_type], [d.dim_value or -1 for d in v.type.tensor_type.shape.dim])
                for v in provided
            ]
        assert config.max_batch_size > 1
        assert config.HasField("dynamic_batching")
        assert not config.dynamic_batching.HasField("default_queue_policy")
        free = any(-1 in t.dims for t in config.input)
        assert [set(warm.inputs) for warm in config.model_warmup] == [{t.name for t in config.input}] * free


@pytest.mark.parametrize("name", MAKERS)
def test_manifests_say_what_was_built(built: Callable[[str], Built], name: str) -> None:
    for part in parts(name):
        manifest = built(name).manifest(part)
        assert manifest["source"] == str(built(name).checkpoint)
        assert manifest["origin"] == (ORIGIN if name == "starter" else None)
        assert manifest["precision"] == "fp32"
        assert manifest["opset"] >= 17
        files = list((built(name).engine(part) / "1").iterdir())
        assert manifest["bytes"] == sum(file.stat().st_size for file in files)
        assert manifest["files"].keys() == {file.name for file in files}
        assert manifest["parity"]["relative_rms_error"] < 1e-5
        assert set(manifest["backend_benchmark"]) >= {"chosen", "onnxruntime", "openvino"}
        backend = manifest["backend_benchmark"]["chosen"]
        assert f'backend: "{backend}"' in (built(name).engine(part) / "config.pbtxt").read_text()


def test_the_family_is_what_serving_reads(built: Callable[[str], Built]) -> None:
    family = families.load(built("starter").engine("unet") / "manifest.json")
    assert family.prediction_type == "flow"
    assert family.scheduler.shift == 2
    assert family.latents_shape(64, 32) == (8, 8, 16)
    assert family.text[0].max_tokens == 16
    assert (family.defaults.guidance_scale, family.defaults.sampler) == (3.0, "flow_euler")
    assert (family.sizes.min_px, family.sizes.max_px) == (32, 96)
    xl = families.load(built("sdxl").engine("unet") / "manifest.json")
    assert [(e.pad, e.width, e.pooled_width) for e in xl.text] == [(56, 32, None), (0, 40, 24)]
    assert families.load(built("sd21").engine("unet") / "manifest.json").prediction_type == "v_prediction"


def test_a_scheduler_without_sampler_falls_back_and_says_so(built: Callable[[str], Built]) -> None:
    assert "PNDMScheduler has no sampler here" in built("sd15").result.output
    assert built("sd15").manifest("unet")["family"]["defaults"]["sampler"] == "dpmpp_2m"
    assert any("PNDMScheduler" in note for note in built("sd15").manifest("unet")["notes"])


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_batch_of_different_timesteps_equals_single_runs(built: Callable[[str], Built], name: str) -> None:
    rng = np.random.default_rng(0)
    config = text_format.Parse(
        (built(name).engine("unet") / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()
    )
    lengths = {"sample": [4, 6, 9], "encoder_hidden_states": [154, config.input[2].dims[1]]}
    inputs = {
        t.name: rng.standard_normal((4, *lengths.get(t.name, t.dims)), dtype=np.float32)
        for t in config.input
        if not t.optional
    }
    inputs["timestep"] = np.array([[981], [500.5], [21], [1]], np.float32)
    together = built(name).run("unet", **inputs)["noise_pred"]
    alone = [built(name).run("unet", **{k: v[i : i + 1] for k, v in inputs.items()})["noise_pred"] for i in range(4)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)
    same = built(name).run("unet", **{**inputs, "timestep": np.full((4, 1), 981, np.float32)})["noise_pred"]
    assert np.abs(together - same)[1:].max() > 1e-2, "the timestep matters"


def test_a_picture_comes_back_from_its_latents(built: Callable[[str], Built]) -> None:
    """Encoder and decoder agree on the UNet's space: both against the VAE itself, scaled by hand."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(built("sdxl").checkpoint / "vae")
    image = np.random.default_rng(1).integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
    posterior = built("sdxl").run("vae_encoder", image=image)
    with torch.no_grad():
        pixels = torch.from_numpy(image).permute(0, 3, 1, 2) / 127.5 - 1
        expected = vae.encode(pixels).latent_dist
        decoded = vae.decode(torch.from_numpy(posterior["mean"]) / 0.13025).sample
    np.testing.assert_allclose(posterior["mean"], expected.mean * 0.13025, atol=1e-5)
    np.testing.assert_allclose(posterior["std"], expected.std * 0.13025, atol=1e-5)
    answer = built("sdxl").run("vae_decoder", latents=posterior["mean"])["image"]
    levels = ((decoded / 2 + 0.5).clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(answer - levels).max() < 0.51


@pytest.mark.parametrize("name", ["sd21", "starter"])
def test_tokenizers_give_the_checkpoints_ids(built: Callable[[str], Built], name: str) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(built(name).checkpoint / "tokenizer")
    ours = Tokenizer.from_file(str(built(name).engine("text_encoder") / "tokenizer.json"))
    for text in ("red cat", "a RED  apple, flat", "", "noto " * 100):
        assert ours.encode(text).ids == theirs(text).input_ids
    assert len(ours.encode("red " * 100).ids) == 102, "never cut"


@pytest.mark.triton
def test_served_pictures_of_two_sizes_share_an_engine(built: Callable[[str], Built]) -> None:
    """The configurations load in a real Triton, warm up, and answer as the files do."""
    rng = np.random.default_rng(3)
    samples = [rng.standard_normal((1, 8, *size), dtype=np.float32) for size in ((8, 8), (9, 13), (16, 8))]
    text = rng.standard_normal((1, 16, 32), dtype=np.float32)
    times = np.array([[400]], np.float32)
    requests = [{"sample": s, "timestep": times, "encoder_hidden_states": text} for s in samples]
    with TritonServer(built("starter").repository, [f"starter_{part}" for part in parts("starter")]) as server:
        answers = asyncio.run(_ask(server.url, requests))
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer, built("starter").run("unet", **request)["noise_pred"], atol=1e-4)


async def _ask(url: str, requests: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    client = EngineClient(url)
    try:
        answers = await asyncio.gather(*(client.infer("starter_unet", request) for request in requests))
        return [answer["noise_pred"] for answer in answers]
    finally:
        await client.close()
