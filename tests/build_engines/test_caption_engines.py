"""Captioning engines from a BLIP-class checkpoint: a small random model of the real class (B-023 to B-025)."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from test_embed_engines import TOWER, written
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor
from typer.testing import CliRunner

from build_engines.cli import app
from serve.ensembles.captioner.captioner import Captioner, CaptionOptions, captioning_engines_in
from serve.ensembles.embedder import prepared_pixels

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]", *(f"word{i}" for i in range(27)))
BOS, EOS = 4, 3


class InProcess:
    """`InferenceClient` on the files that were written."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.rows: list[int] = []

    async def infer(
        self, engine: str, inputs: Mapping[str, NDArray[Any]], *, timeout_s: float | None = None, **_more: Any
    ) -> dict[str, NDArray[Any]]:
        session = onnxruntime.InferenceSession(str(self.repository / engine / "1" / "model.onnx"))
        self.rows.append(len(next(iter(inputs.values()))))
        return dict(zip([one.name for one in session.get_outputs()], session.run(None, dict(inputs)), strict=True))


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    text = {
        **TOWER, "vocab_size": len(WORDS), "max_position_embeddings": 48, "bos_token_id": BOS, "sep_token_id": EOS,
        "eos_token_id": EOS, "pad_token_id": 0, "encoder_hidden_size": 32, "initializer_range": 0.6,
    }  # fmt: skip
    vision = {**TOWER, "image_size": 32, "patch_size": 8, "initializer_range": 0.3}
    config = BlipConfig(text_config=text, vision_config=vision)
    folder = tmp_path_factory.mktemp("blip")
    written(
        BlipForConditionalGeneration(config), folder, size={"height": 32, "width": 32}, resample=3,
        image_mean=[0.48, 0.46, 0.41], image_std=[0.27, 0.26, 0.28],
    )  # fmt: skip
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    made.add_special_tokens(list(WORDS[:5]))
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def repository(blip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    arguments = ["caption", "--source", str(blip), "--name", "tiny", "--repository", str(folder)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return folder


def png(seed: int) -> bytes:
    rng, file = np.random.default_rng(seed), io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("beams", [1, 3])
def test_captions_are_those_that_the_library_generates(blip: Path, repository: Path, beams: int) -> None:
    model = BlipForConditionalGeneration.from_pretrained(blip).eval()
    engines = captioning_engines_in(repository)
    captioner = Captioner(engines, InProcess(repository), None)
    assert captioner.models == ("tiny",)
    lengths = set()
    for seed in range(3):
        pixels = prepared_pixels(np.asarray(Image.open(io.BytesIO(png(seed)))), engines[0].like)
        processor = BlipImageProcessor.from_pretrained(blip)
        inputs = processor(images=Image.fromarray(pixels), return_tensors="pt", do_resize=False)
        generated = model.generate(
            **inputs, num_beams=beams, do_sample=False, max_new_tokens=12, length_penalty=1.0, early_stopping=False
        )[0]
        kept = [WORDS[int(i)] for i in generated if int(i) > BOS]
        lengths.add(len(kept))
        options = CaptionOptions(beams=beams, max_tokens=12)
        found = asyncio.run(captioner.caption(png(seed), options))
        assert found.candidates[0].candidate.text == " ".join(kept)
        assert 0 < found.candidates[0].candidate.confidence <= 1
        assert len(found.candidates) <= beams
    assert max(lengths) > 2


def test_a_prompt_is_continued(repository: Path) -> None:
    client = InProcess(repository)
    captioner = Captioner(captioning_engines_in(repository), client, None)
    options = CaptionOptions(prompt="word1 word2", beams=2, max_tokens=5)
    found = asyncio.run(captioner.caption(png(0), options))
    assert all(one.candidate.text.startswith("word1 word2") for one in found.candidates)
    assert max(client.rows) == 2
    manifest = json.loads((repository / "tiny_decoder" / "manifest.json").read_text())
    assert manifest["parity"]["relative_rms_error"] <= manifest["parity"]["limit"]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    for source, reason in ((tmp_path, "model_type"), (tmp_path / "none", "hf download")):
        done = CliRunner().invoke(app, ["caption", "--source", str(source), "--repository", str(tmp_path)])
        assert done.exit_code == 1
        assert reason in done.output
