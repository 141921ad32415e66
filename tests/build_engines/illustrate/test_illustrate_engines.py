"""Checkpoints of every class through the real command; its engines against torch and against diffusers' pipelines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from google.protobuf import text_format
from tokenizers import Tokenizer
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from build_engines.cli import app
from serve.diffusion import family as families
from serve.engines.client import Engines
from serve.engines.server import TritonServer

MAKERS: dict[str, Callable[[Path], Path]] = {
    "sd15": checkpoints.stable_diffusion_15,
    "sd21": checkpoints.stable_diffusion_21,
    "sdxl": checkpoints.stable_diffusion_xl,
    "starter": checkpoints.starter,
}
PROMPT, STEPS, GUIDANCE = "red cat re d", 6, 7.5
LARGEST_PSNR_DB = 99.0

pytestmark = pytest.mark.slow


class Built:
    """A checkpoint and the repository that the command made of it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.checkpoint = MAKERS[name](folder / "checkpoint")
        self.repository = folder / "model_repository"
        arguments = ["illustrate", "--source", str(self.checkpoint), "--name", name]
        self.result = CliRunner().invoke(app, [*arguments, "--repository", str(self.repository)])
        assert self.result.exit_code == 0, self.result.output
        self._sessions: dict[str, Any] = {}

    def engine(self, part: str) -> Path:
        return self.repository / f"{self.name}_{part}"

    def manifest(self, part: str) -> dict[str, Any]:
        return json.loads((self.engine(part) / "manifest.json").read_text())

    def run(self, part: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        if part not in self._sessions:
            path = str(self.engine(part) / "1" / "model.onnx")
            self._sessions[part] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        session = self._sessions[part]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def embed(self, part: str, text: str) -> dict[str, np.ndarray]:
        """The answer of a text encoder to one prompt, tokenised as serving does."""
        family = families.load(self.engine("unet") / "manifest.json")
        encoder = next(e for e in family.text if e.engine.endswith(part))
        ids = Tokenizer.from_file(str(self.engine(part) / "tokenizer.json")).encode(text, add_special_tokens=False).ids
        row = [encoder.bos, *ids, encoder.eos]
        row += [encoder.pad] * (encoder.max_tokens - len(row))
        return self.run(part, input_ids=np.array([row], np.int32))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Built]:
    """Each checkpoint is built once."""
    made: dict[str, Built] = {}

    def get(name: str) -> Built:
        if name not in made:
            made[name] = Built(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


def parts(name: str) -> list[str]:
    second = ["text_encoder_2"] if name == "sdxl" else []
    return ["text_encoder", *second, "unet", "vae_decoder", "vae_encoder"]


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return LARGEST_PSNR_DB if error == 0 else float(10 * np.log10(255**2 / error))


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
        for declared, provided in ((config.input, graph.input), (config.output, graph.output)):
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
        assert manifest["precision"] == "fp32"
        assert manifest["opset"] >= 17
        assert manifest["bytes"] == (built(name).engine(part) / "1" / "model.onnx").stat().st_size
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
    inputs = {t.name: rng.standard_normal((4, *lengths.get(t.name, t.dims)), dtype=np.float32) for t in config.input}
    inputs["timestep"] = np.array([[981], [500.5], [21], [1]], np.float32)
    together = built(name).run("unet", **inputs)["noise_pred"]
    alone = [built(name).run("unet", **{k: v[i : i + 1] for k, v in inputs.items()})["noise_pred"] for i in range(4)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)
    same = built(name).run("unet", **{**inputs, "timestep": np.full((4, 1), 981, np.float32)})["noise_pred"]
    assert np.abs(together - same)[1:].max() > 1e-2, "the timestep matters"


@pytest.mark.parametrize("name", ["sd15", "sd21"])
def test_whole_pictures_equal_diffusers(built: Callable[[str], Built], name: str) -> None:
    """A-007: the same weights, latents and sampler give the picture of StableDiffusionPipeline."""
    pipeline = StableDiffusionPipeline.from_pretrained(built(name).checkpoint, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    expected, latents = pictured(pipeline)
    embeds = np.concatenate([built(name).embed("text_encoder", text)["prompt_embeds"] for text in ("", PROMPT)])
    drawn = draw(built(name), pipeline.scheduler, latents, encoder_hidden_states=embeds)
    assert psnr_db(drawn, expected) > 45


def test_whole_pictures_equal_diffusers_xl(built: Callable[[str], Built]) -> None:
    """A-002: both encoders, the pooled embedding and the sizes arrive where StableDiffusionXLPipeline has them."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(built("sdxl").checkpoint, add_watermarker=False)
    expected, latents = pictured(pipeline)
    first = [built("sdxl").embed("text_encoder", text) for text in ("", PROMPT)]
    second = [built("sdxl").embed("text_encoder_2", text) for text in ("", PROMPT)]
    embeds = [np.concatenate([a["prompt_embeds"], b["prompt_embeds"]], 2) for a, b in zip(first, second, strict=True)]
    height, width = (8 * n for n in latents.shape[2:])
    drawn = draw(
        built("sdxl"),
        pipeline.scheduler,
        latents,
        encoder_hidden_states=np.concatenate(embeds),
        text_embeds=np.concatenate([answer["pooled_prompt_embeds"] for answer in second]),
        time_ids=np.array([[height, width, 0, 0, height, width]] * 2, np.float32),
    )
    assert psnr_db(drawn, expected) > 45


def pictured(pipeline: Any) -> tuple[np.ndarray, np.ndarray]:
    """(picture, the latents it began with), 72 x 40 px: sides whose latents do not halve evenly."""
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 5, 9, generator=torch.Generator().manual_seed(7))
    image = pipeline(
        PROMPT,
        negative_prompt="",
        height=40,
        width=72,
        latents=latents.clone(),
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        output_type="np",
    ).images[0]
    picture = (255 * image).round()
    assert picture.std() > 10, "a picture that could differ"
    return picture, latents.numpy()


def draw(family: Built, scheduler: Any, latents: np.ndarray, **conditions: np.ndarray) -> np.ndarray:
    """Guided denoising by the engines, stepped by diffusers' ``scheduler``; the picture."""
    scheduler.set_timesteps(STEPS)
    sample = torch.from_numpy(latents) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        doubled = torch.cat([scheduler.scale_model_input(sample, timestep)] * 2).numpy()
        times = np.full((2, 1), float(timestep), np.float32)
        negative, positive = family.run("unet", sample=doubled, timestep=times, **conditions)["noise_pred"][:, None]
        guided = torch.from_numpy(negative + GUIDANCE * (positive - negative))
        sample = scheduler.step(guided, timestep, sample).prev_sample
    return family.run("vae_decoder", latents=sample.numpy())["image"][0]


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
    client = Engines(url)
    try:
        answers = await asyncio.gather(*(client.infer("starter_unet", request) for request in requests))
        return [answer["noise_pred"] for answer in answers]
    finally:
        await client.close()
