"""Text engines from checkpoints of `transformers`: small random ones of the real classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, CLIPConfig, CLIPModel
from typer.testing import CliRunner

from build_engines.cli import app
from build_engines.text.checkpoint import load
from serve.ensembles.prompts.analysis import PromptAnalyser, to_json
from serve.ensembles.prompts.text_engine import RULES, TextEngine, judged

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "red", "fox", "forest", "city", "robot", "happy", "dark", "in", "the")
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
PROMPTS = ("a happy fox in the forest", "dark city", "robot " * 50)


def written(folder: Path, classifier: bool) -> Path:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=20, **SIZES)
    (BertForSequenceClassification(config) if classifier else BertModel(config)).save_pretrained(folder)
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    (folder / "tokenizer.json").write_text(made.to_str())
    return folder


@pytest.mark.parametrize("classifier", [False, True])
def test_a_checkpoint_becomes_an_engine_that_judges_prompts(tmp_path: Path, classifier: bool) -> None:
    source, repository = written(tmp_path / "bert", classifier), tmp_path / "engines"
    done = CliRunner().invoke(app, ["text", "--source", str(source), "--name", "tiny", "--repository", str(repository)])
    assert done.exit_code == 0, done.output
    assert "ATELIER_ILLUSTRATOR__PROMPT_ENGINE=tiny" in done.output
    manifest = json.loads((repository / "tiny" / "manifest.json").read_text())
    assert manifest["metrics"]["held_out"] == 300
    assert 0 < manifest["metrics"]["rules_alone"]["concepts"] < 1

    encoder, engine = load(source), TextEngine(repository / "tiny")
    vectors = encoder.vectors(list(PROMPTS))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 4, atol=1e-4)
    for prompt in PROMPTS:
        found = engine.judge(prompt, [0.0] * RULES)
        assert found is not None
        assert found.sentiments.sum() == pytest.approx(1)
        assert found.moods.sum() < 1
    by_rules, by_both = PromptAnalyser().analyse(PROMPTS[0]), PromptAnalyser(engine=engine).analyse(PROMPTS[0])
    assert (by_rules.served_by, by_both.served_by) == ("rules", "rules and text engine")
    assert by_both.keywords == by_rules.keywords
    assert to_json(by_both)["sentiment"]["evidence"] == to_json(by_rules)["sentiment"]["evidence"]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    pickled = written(tmp_path / "pickled", False)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    pictures = tmp_path / "clip"
    small = {**SIZES, "image_size": 8, "patch_size": 4}
    CLIPModel(CLIPConfig(text_config={**SIZES, "vocab_size": 20}, vision_config=small)).save_pretrained(pictures)
    for folder in (empty, pickled, pictures, tmp_path / "none"):
        done = CliRunner().invoke(
            app, ["text", "--source", str(folder), "--name", "tiny", "--repository", str(tmp_path / "engines")]
        )
        assert done.exit_code == 1, folder
        assert "Not built: " in done.output
    assert not (tmp_path / "engines" / "tiny").exists()


def test_probabilities_of_large_logits_are_finite() -> None:
    found = judged(np.asarray([800.0, -800.0] * 7 + [800.0]))
    assert np.isfinite(found.concepts).all()
    assert found.moods.sum() <= 1
