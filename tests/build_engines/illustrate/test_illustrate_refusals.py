"""What cannot be built is refused with what to do, before anything heavy is loaded, and nothing is changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import pytest
from typer.testing import CliRunner

from build_engines.cli import app
from build_engines.illustrate import parity
from build_engines.illustrate.refusal import Refused
from build_engines.illustrate.schedulers import read_schedule
from build_engines.illustrate.source import find_weights, needed


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.stable_diffusion_15(tmp_path_factory.mktemp("pristine") / "checkpoint")


@pytest.fixture
def checkpoint(pristine: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "checkpoint"))


def build(source: Path | str, repository: Path, *more: str) -> tuple[int, str]:
    """(exit status, the message on one line)."""
    arguments = ["illustrate", "--source", str(source), "--name", "x", "--repository", str(repository), *more]
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, " ".join(result.output.split())


def change(path: Path, **values: Any) -> None:
    """Changes keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def as_pickle(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")


def truncated(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
    "other pipeline": (lambda f: change(f / "model_index.json", _class_name="FluxPipeline"), "FluxPipeline"),
    "control pipeline": (
        lambda f: change(f / "model_index.json", _class_name="StableDiffusionControlNetPipeline"),
        "StableDiffusionControlNetPipeline",
    ),
    "unet of other channels": (lambda f: change(f / "unet" / "config.json", in_channels=8), "takes 8 and gives 4"),
    "no text encoder": (lambda f: change(f / "model_index.json", text_encoder=[None, None]), "no text_encoder"),
    "other text encoder": (
        lambda f: change(f / "model_index.json", text_encoder=["transformers", "T5EncoderModel"]),
        "text_encoder is of the class T5EncoderModel",
    ),
    "no unet folder": (lambda f: shutil.rmtree(f / "unet"), "the checkpoint is incomplete"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "no tokenizer"),
    "pickle": (as_pickle, "as pickle only, which is never opened"),
    "truncated": (truncated, "unet cannot be loaded"),
    "not json": (lambda f: (f / "vae" / "config.json").write_text("{"), "is not JSON"),
    "other width": (lambda f: change(f / "unet" / "config.json", cross_attention_dim=48), "attends to vectors of 48"),
    "class labels": (lambda f: change(f / "unet" / "config.json", num_class_embeds=4), "num_class_embeds"),
    "long prompts": (
        lambda f: change(f / "tokenizer" / "tokenizer_config.json", model_max_length=512),
        "model_max_length is 512",
    ),
    "scheduler": (
        lambda f: change(f / "scheduler" / "scheduler_config.json", _class_name="EDMEulerScheduler"),
        "the scheduler EDMEulerScheduler cannot be served",
    ),
    "sample prediction": (
        lambda f: change(f / "scheduler" / "scheduler_config.json", prediction_type="sample"),
        "cannot be served",
    ),
    "sizes": (
        lambda f: (f / "atelier.json").write_text('{"sizes": {"multiple_of": 4}}'),
        "multiple_of must be a multiple of 8",
    ),
    "defaults": (
        lambda f: (f / "atelier.json").write_text('{"defaults": {"num_inference_steps": 0}}'),
        "family.defaults.num_inference_steps",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_does_not_fit_is_refused(checkpoint: Path, tmp_path: Path, case: str) -> None:
    spoil, reason = SPOILED[case]
    spoil(checkpoint)
    status, message = build(checkpoint, tmp_path / "models")
    assert status == 1
    assert "Not built:" in message
    assert reason in message
    assert "Traceback" not in message
    assert not list((tmp_path / "models").glob("*")), "nothing half built"


@pytest.mark.parametrize("name", ["", "Mini", "9lives", "a-b", "a/b", "x" * 41])
def test_a_name_that_no_engine_could_have_is_refused(checkpoint: Path, tmp_path: Path, name: str) -> None:
    status, message = build(checkpoint, tmp_path, "--name", name)
    assert status == 1
    assert "--name" in message


def test_sources_that_are_no_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    file = tmp_path / "model.safetensors"
    file.touch()
    for source, reason in (
        (file, "from_single_file"),
        ("no such folder", "neither a folder nor an id"),
        ("somebody/something", "cannot be downloaded"),
    ):
        status, message = build(source, tmp_path / "models")
        assert status == 1
        assert reason in message


def test_without_a_gpu_tensorrt_says_what_to_run(checkpoint: Path, tmp_path: Path) -> None:
    """B-072."""
    status, message = build(checkpoint, tmp_path / "models", "--target", "tensorrt", "--precision", "fp16")
    assert status == 1
    assert "a TensorRT plan is built on the GPU that serves it" in message
    assert f"--source {checkpoint} --name x --target tensorrt --precision fp16" in message


def test_eight_bit_plans_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    status, message = build(checkpoint, tmp_path, "--target", "tensorrt", "--precision", "int8")
    assert status == 1
    assert "fp32 and fp16" in message


def test_an_engine_that_differs_leaves_the_repository_as_it_was(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.LIMITS, "fp32", 1e-12)
    kept = tmp_path / "models" / "x_text_encoder" / "manifest.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("of an earlier build")
    status, message = build(checkpoint, tmp_path / "models", "--target", "openvino")
    assert status == 1
    assert "x_text_encoder differs from its network" in message
    assert kept.read_text() == "of an earlier build"
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["x_text_encoder"]


def test_weights_are_full_precision_first_then_half_then_shards() -> None:
    plain, half = "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"
    assert find_weights("unet", [half, plain, "unet/diffusion_pytorch_model.bin"]).files == (plain,)
    assert find_weights("unet", [half, "unet/config.json"]).variant == "fp16"
    shards = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    assert find_weights("unet", [*shards, index, half]).files == (*shards, index)
    with pytest.raises(Refused, match="incomplete"):
        find_weights("text_encoder", [plain, "text_encoder/config.json"])


def test_only_what_is_needed_is_downloaded() -> None:
    index = {"unet": ["diffusers", "U"], "text_encoder": ["transformers", "C"], "safety_checker": ["x", "y"]}
    names = [
        "model_index.json",
        "README.md",
        "sd-turbo.safetensors",
        "scheduler/scheduler_config.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/pytorch_model.bin",
        "safety_checker/model.safetensors",
    ]
    unwanted = {"README.md", "sd-turbo.safetensors", names[8], names[11], names[12]}
    assert sorted(needed(index, names)) == sorted(set(names) - unwanted)


@pytest.mark.parametrize(
    ("config", "sampler", "few_step", "notes"),
    [
        ({"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}, "euler_a", True, 0),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}, "euler", False, 0),
        ({"_class_name": "LCMScheduler"}, "lcm", True, 0),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True}, "dpmpp_2m_karras", False, 0),
        ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}, "dpmpp_2m", False, 1),
        ({"_class_name": "UniPCMultistepScheduler"}, "unipc", False, 0),
        ({"_class_name": "LMSDiscreteScheduler"}, "euler", False, 1),
    ],
)
def test_schedulers_find_their_sampler(config: dict[str, Any], sampler: str, few_step: bool, notes: int) -> None:
    """B-100: turbo and LCM checkpoints are told by their scheduler."""
    schedule = read_schedule({**checkpoints.BETAS, **config}, distilled=False)
    assert (schedule.sampler, schedule.few_step, len(schedule.notes)) == (sampler, few_step, notes)
