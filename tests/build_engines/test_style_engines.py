"""Style transfer's engines: filters and scenes, the network, training, the folders that serving reads, what ships."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_icons import complex_, simple
from PIL import Image

from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.export.runtimes import open_onnxruntime
from build_engines.style import engine, training
from build_engines.style.engine import ENCODER, PAINTER, write_engines
from build_engines.style.network import FARTHEST, StyleNetwork, statistics, to_tensor
from build_engines.style.originals import ORIGINALS, colours_of, picture_of
from build_engines.style.painting import PAINTERS
from build_engines.style.pictures import group_of, paint_groups
from build_engines.style.training import Losses, evaluate, textures_at, train
from serve.ensembles.restyler.restyler import style_engines_in
from serve.ensembles.restyler.style_files import read_style_files
from serve.settings.section import project_path
from serve.vector.textures import FIELDS, SIDE_PX, fields, window

ICONS = [*(simple(seed) for seed in range(4)), *(complex_(seed) for seed in range(4))]
SITE = project_path(Path("deployments/style_transfer"))


@pytest.mark.parametrize("name", PAINTERS)
def test_filters_paint_and_are_repeatable(name: str) -> None:
    scenes, paintings, places = group_of(np.random.default_rng(1), name, ICONS, 64)
    again = group_of(np.random.default_rng(1), name, ICONS, 64)
    assert scenes.shape == paintings.shape == (3, 64, 64, 3)
    assert np.array_equal(paintings, again[1])
    assert places.shape == (3, 2)
    assert paintings.std() > 3
    if name != "plain":
        assert np.abs(paintings.astype(int) - scenes).mean() > 4


def test_texture_fields_are_normal_repeat_and_go_on_for_ever() -> None:
    found = fields(3)
    assert found.shape == (SIDE_PX, SIDE_PX, FIELDS)
    assert np.abs(found.mean((0, 1))).max() < 5e-3
    assert np.abs(found.std((0, 1)) - 1).max() < 5e-3
    assert np.array_equal(window(3, 8, 16, 24, 32), found[8:32, 16:48])
    assert not np.array_equal(fields(4)[:64, :64], found[:64, :64])
    far = window(3, 0, 2 * SIDE_PX - 8, 16, 16)
    assert np.array_equal(far[:, 8:], found[:16, :8])
    assert np.array_equal(far[:, :8], found[:16, :8][:, ::-1])


def test_network_leaves_a_picture_in_its_own_style_nearly_as_it_is_and_takes_the_colours_of_another() -> None:
    torch.manual_seed(0)
    network = StyleNetwork().eval()
    rng = np.random.default_rng(0)
    content, style = (torch.from_numpy(rng.uniform(low, high, (1, 3, 48, 56)).astype(np.float32)) for low, high in
                      ((-0.9, 0.0), (0.4, 0.9)))  # fmt: skip
    grain = textures_at(np.array([[0, 0]]), 56)[:, :, :48]
    with torch.no_grad():
        features = network.encoder(content)
        own, other = statistics(features), statistics(network.encoder(style))
        same = network(features, own, own, 0 * grain)
        changed = network(features, own, other, 0 * grain)
        half = network.encoder.colours(features[0])
    assert torch.allclose(half, content, atol=1e-5)
    assert float((same - content).abs().mean()) < 0.2
    assert float(changed.mean()) > float(same.mean()) + 0.5
    assert FARTHEST > 3


def test_trained_network_becomes_the_folders_that_serving_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "BATCH", 2)
    monkeypatch.setattr(engine, "TILE_PX", 64)
    network = train(0.03, groups=15, icons=ICONS)
    report = evaluate(network, 4, ICONS)
    assert np.isfinite(report.network)
    assert report.scene > 0
    folders = write_engines(network, report, 0.03, tmp_path, "5")
    stated = style_engines_in(tmp_path)
    assert stated is not None
    assert (stated.step_px, stated.tile_px % stated.step_px, stated.overlap_px % stated.step_px) == (8, 0, 0)
    rng = np.random.default_rng(1)
    image, style = rng.integers(0, 256, (2, 1, 24, 40, 3), np.uint8)
    encode = open_onnxruntime(folders[0] / "1" / "model.onnx", ENCODER)
    paint = open_onnxruntime(folders[1] / "1" / "model.onnx", PAINTER)
    content, wanted = (encode({"image": one})["statistics"] for one in (image, style))
    assert content.shape == (1, stated.statistics)
    painted = paint({"image": image, "content": content, "style": wanted, "textures": window(0, 0, 0, 24, 40)[None]})
    assert painted["painted"].shape == image.shape
    assert painted["painted"].dtype == np.uint8


def test_loss_is_none_for_what_is_wanted_and_grows_with_blur() -> None:
    painted = paint_groups(2, ICONS, seed=2)
    wanted = to_tensor(torch.from_numpy(painted.paintings[0]))
    blurred = torch.nn.functional.avg_pool2d(wanted, 5, 1, 2)
    losses, none = Losses(), torch.zeros(len(wanted))
    with torch.no_grad():
        exact, soft, far = (float(losses(one, wanted, none)) for one in (wanted, blurred, -wanted))
    assert exact < 1e-3 < soft < far


def test_pictures_of_the_styles_are_those_that_the_filters_paint() -> None:
    styles = read_style_files([SITE])
    assert [original.name for original in ORIGINALS] == list(styles)
    for original in (ORIGINALS[0], ORIGINALS[3]):
        style = styles[original.name]
        made = picture_of(original)
        with Image.open(io.BytesIO(style.data)) as image:
            kept = np.asarray(image.convert("RGB"))
        assert np.abs(kept.astype(int) - made).mean() < 8
        assert list(style.entry.colors) == colours_of(made)


def test_shipped_engines_are_near_to_the_filters_on_icons_that_are_drawn_here() -> None:
    encode = open_onnxruntime(MODEL_REPOSITORY / ENCODER.name / "1" / "model.onnx", ENCODER)
    paint = open_onnxruntime(MODEL_REPOSITORY / PAINTER.name / "1" / "model.onnx", PAINTER)
    losses, none, ours, theirs = Losses(), torch.zeros(1), [], []
    for name in ("engraving", "halftone", "stipple", "stained_glass"):
        scenes, paintings, places = group_of(np.random.default_rng(7), name, ICONS)
        own, style = (encode({"image": one[None]})["statistics"] for one in (scenes[0], paintings[1]))
        grain = window(0, int(places[0, 0]), int(places[0, 1]), *scenes.shape[1:3])[None]
        made = paint({"image": scenes[:1], "content": own, "style": style, "textures": grain})["painted"]
        wanted = to_tensor(torch.from_numpy(paintings[:1]))
        for found, picture in ((ours, made), (theirs, scenes[:1])):
            found.append(float(losses(to_tensor(torch.from_numpy(np.array(picture))), wanted, none)))
    assert np.mean(ours) < 0.9 * np.mean(theirs), (ours, theirs)


@pytest.mark.parametrize("contract", [ENCODER, PAINTER], ids=["encoder", "painter"])
def test_shipped_engines_paint_nearer_to_the_filter_than_doing_nothing(contract: object) -> None:
    name = contract.name  # type: ignore[attr-defined]
    folder = MODEL_REPOSITORY / name
    manifest = json.loads((folder / "manifest.json").read_text())
    content = (folder / "1" / "model.onnx").read_bytes()
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["bytes"] == len(content) < 8_000_000
    assert {one["license"] for one in manifest["data"]["sets"]} <= {"CC0-1.0", "Apache-2.0", "MIT"}
    assert manifest["metrics"]["network"] < manifest["metrics"]["scene"]
    assert manifest["metrics"]["network"] < manifest["metrics"]["style"]
