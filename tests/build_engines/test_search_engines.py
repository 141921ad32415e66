"""Encoders of search by likeness: training, the folders that serving reads, and the shipped ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.mini.corpus.concepts import Concept
from build_engines.mini.corpus.pictures import Corpus, Entry
from build_engines.mini.corpus.vectors import DIMENSIONS, Vocabulary
from build_engines.mini.tokenizer import encode, make_tokenizer
from build_engines.mini.training.judges import CaptionJudge, seen
from build_engines.mini.training.text import TOKENS
from build_engines.search import training
from build_engines.search.engine import write_engines
from build_engines.search.training import Report, evaluate, train
from serve.ensembles.embedder import Embedder, embedder_in, fitted

SHAPES = ("circle", "square", "bar", "ring")
ENGINES = ("search_picture", "search_text")
LARGEST_BYTES = 4 * 10**6


def drawn(shape: str) -> np.ndarray:
    picture = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(picture)
    if shape == "circle":
        draw.ellipse((8, 8, 56, 56), fill="red")
    elif shape == "square":
        draw.rectangle((8, 8, 56, 56), fill="blue")
    elif shape == "bar":
        draw.rectangle((4, 28, 60, 36), fill="green")
    else:
        draw.ellipse((8, 8, 56, 56), outline="black", width=6)
    return np.asarray(picture)


def vocabulary() -> Vocabulary:
    return Vocabulary(SHAPES, len(SHAPES), np.eye(len(SHAPES), DIMENSIONS, dtype=np.float32))


def corpus() -> Corpus:
    """Every shape in two sets."""
    entries = tuple(Entry(s, shape, shape, False, None) for s in ("noto", "twemoji") for shape in SHAPES)
    concepts = {shape: Concept(shape, (), (), (), True) for shape in SHAPES}
    return Corpus(np.stack([drawn(e.name) for e in entries]), entries, concepts)


def test_training_brings_captions_to_their_pictures_and_engines_say_what_the_networks_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_MEASURED_STEPS", 40)
    network, steps = train(corpus(), vocabulary(), 0.0, 1)
    assert steps == 40
    rows = np.arange(len(SHAPES))
    images, texts = training.embedded(network.eval(), vocabulary(), corpus(), rows)
    assert ((texts @ images.T).argmax(1) == rows).all()
    report = Report(1.0, 1.0, 1.0, 4, 4, steps)
    facts = {"command": "c", "data": {"sets": [{"package": "p", "version": "1", "license": "MIT"}]}}
    folders = write_engines(network, vocabulary(), report, facts, tmp_path, "1")
    assert [folder.name for folder in folders] == list(ENGINES)
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["parity"]["relative_rms_error"] <= manifest["parity"]["limit"]
        assert manifest["data"] == facts["data"]
    served = embedder_in(tmp_path)
    assert served is not None
    for i, shape in enumerate(SHAPES):
        Image.fromarray(drawn(shape)).save(tmp_path / "one.png")
        assert served.picture((tmp_path / "one.png").read_bytes(), "image/png") @ images[i] > 0.99
    ids = torch.from_numpy(encode(make_tokenizer(SHAPES), ["the circle"], TOKENS))
    with torch.no_grad():
        assert served.text("the circle") @ network.captions(ids)[0].numpy() > 0.99
    assert not served.knows("zyzzyva")
    assert served.knows("a Ring!")


def test_long_texts_are_cut_as_in_training() -> None:
    served, text = shipped(), " ".join(["red", "apple", "tree"] * 40)
    assert served.text(text) == pytest.approx(served.text(" ".join(text.split()[: TOKENS - 2])), abs=1e-5)


def test_evaluation_counts_ranks_of_pictures_that_training_never_sees() -> None:
    torch.manual_seed(0)
    words, held = ("kitten", "puppy", "hen", "oak"), corpus()
    named = dict(zip(SHAPES, words, strict=True))
    entries = tuple(dataclasses.replace(e, concept=f"name:{named[e.name]}") for e in held.entries)
    concepts = {f"name:{word}": Concept(shape, (), (), (), True) for shape, word in named.items()}
    report = evaluate(CaptionJudge(vocab_size=8).eval(), vocabulary(), Corpus(held.pixels, entries, concepts), 1)
    assert (report.pictures, report.among) == (8, 4)
    assert 0 <= report.first <= report.of_five == 1


def shipped() -> Embedder:
    found = embedder_in(MODEL_REPOSITORY)
    assert found is not None
    return found


def test_shipped_engines_are_small_and_name_their_data() -> None:
    total = 0
    for name in ENGINES:
        folder = MODEL_REPOSITORY / name
        manifest, content = json.loads((folder / "manifest.json").read_text()), (folder / "1/model.onnx").read_bytes()
        assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
        assert manifest["parity"]["relative_rms_error"] <= manifest["parity"]["limit"]
        assert all(one["license"] for one in manifest["data"]["sets"])
        total += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert total <= LARGEST_BYTES


def test_shipped_engines_find_simple_drawings_by_colour() -> None:
    served = shipped()
    pictures = {}
    for word, colour in (("red", "#e02020"), ("blue", "#2040e0"), ("green", "#20a040")):
        heart = "M4.5 8 1 4.5A2 2 0 0 1 4.5 2 2 2 0 0 1 8 4.5z"
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path fill="{colour}" d="{heart}"/></svg>'
        pictures[word] = served.picture(svg.encode(), "image/svg+xml")
    for word in pictures:
        wanted = served.text(f"{word} heart")
        assert max(pictures, key=lambda one: float(pictures[one] @ wanted)) == word


def test_pictures_are_fitted_into_a_white_square() -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    square = fitted(wide, 64)
    assert square.shape == (64, 64, 3)
    assert (square[:20] == 255).all()
    assert (square[30:34] == 0).all()
    assert np.array_equal(fitted(seen(drawn("bar")[None])[0], 64), seen(drawn("bar")[None])[0])
