"""Engines of search from CLIP- and SigLIP-class checkpoints: small random models of the real classes (C-045)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, SiglipConfig, SiglipModel
from typer.testing import CliRunner

from build_engines.cli import app
from build_engines.embed.checkpoint import load, read_preprocessing
from build_engines.illustrate.refusal import Refused
from serve.ensembles.embedder import embedder_in

WORDS = ("<bos>", "<eos>", "<unk>", "<pad>", "a", "red", "fox", "in", "the", "snow", "owl")
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {**TOWER, "image_size": 32, "patch_size": 8}
TEXT = {**TOWER, "vocab_size": len(WORDS), "max_position_embeddings": 9}


def tokenizer_json() -> str:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)]
    )
    return made.to_str()


def written(model: Any, folder: Path, **preprocessing: Any) -> Path:
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer_json())
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**TEXT, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 3},
        vision_config=VISION,
        projection_dim=24,
    )
    folder = tmp_path_factory.mktemp("clip")
    return written(
        CLIPModel(config), folder, size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32},
        do_center_crop=True, resample=3, image_mean=[0.48, 0.46, 0.41], image_std=[0.27, 0.26, 0.28],
    )  # fmt: skip


def picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).resize((width * 4, height * 4))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["embed", *arguments])


def test_a_clip_checkpoint_becomes_a_pair_that_says_what_the_model_says(clip: Path, tmp_path: Path) -> None:
    done = run("--source", str(clip), "--name", "tiny", "--repository", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert embedder_in(tmp_path) is None
    served = embedder_in(tmp_path, "tiny")
    assert served is not None
    model = CLIPModel.from_pretrained(clip).eval()
    assert served.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()), rel=1e-3)
    processor = CLIPImageProcessor.from_pretrained(clip)
    for size in ((20, 14), (9, 30)):
        image, file = picture(*size), io.BytesIO()
        image.save(file, "PNG")
        with torch.no_grad():
            pixels = processor(images=image, return_tensors="pt")["pixel_values"]
            wanted = model.visual_projection(model.vision_model(pixels).pooler_output)[0].numpy()
        assert served.picture(file.getvalue(), "image/png") @ wanted / np.linalg.norm(wanted) > 0.999
    with torch.no_grad():
        ids = torch.tensor([[0, 4, 5, 6, 1]])
        wanted = model.text_projection(model.text_model(ids).pooler_output)[0].numpy()
    assert served.text("a RED fox") @ wanted / np.linalg.norm(wanted) == pytest.approx(1, abs=1e-5)
    assert served.knows("owl")
    assert not served.knows("zyzzyva")
    long = "a red fox in the snow " * 3
    assert served.text(long) == pytest.approx(served.text("a red fox in the snow a"), abs=1e-5)
    for name in ("tiny_picture", "tiny_text"):
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert manifest["class"] == "clip"
        assert manifest["parity"]["relative_rms_error"] <= manifest["parity"]["limit"]


def test_a_siglip_checkpoint_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config={**TEXT, "projection_size": 32}, vision_config=VISION)).eval()
    folder = written(model, tmp_path / "siglip", size={"height": 32, "width": 32}, resample=2)
    done = run("--source", str(folder), "--name", "sig", "--repository", str(tmp_path / "engines"))
    assert done.exit_code == 0, done.output
    served = embedder_in(tmp_path / "engines", "sig")
    assert served is not None
    ids = torch.tensor([[0, 4, 5, 6, 1, 3, 3, 3, 3]])
    with torch.no_grad():
        wanted = model.text_model(ids).pooler_output[0].numpy()
    assert served.text("A red, fox!") @ wanted / np.linalg.norm(wanted) == pytest.approx(1, abs=1e-5)
    file = io.BytesIO()
    picture(20, 14).save(file, "PNG")
    assert np.linalg.norm(served.picture(file.getvalue(), "image/png")) == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_read_is_refused(clip: Path, tmp_path: Path) -> None:
    assert "hf download" in run("--source", str(tmp_path / "none")).output
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "model_type" in run("--source", str(tmp_path), "--repository", str(tmp_path)).output
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(Refused, match="safetensors"):
        load(tmp_path)
    for stated in (
        {"size": {"height": 32, "width": 16}}, {"size": 32, "resample": 1}, {"size": 32, "rescale_factor": 1},
        {"size": 32, "image_std": [0, 1, 1]},
    ):  # fmt: skip
        with pytest.raises(Refused):
            read_preprocessing(stated)
    assert "lower case" in run("--source", str(clip), "--name", "No!").output
