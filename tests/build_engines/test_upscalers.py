"""Upscaling engines: training, the folder that serving reads, networks of another origin, what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from drawn_icons import complex_, simple
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

from build_engines.export.engine import MODEL_REPOSITORY
from build_engines.export.runtimes import open_onnxruntime
from build_engines.illustrate.refusal import Refused
from build_engines.upscale import training
from build_engines.upscale.engine import contract_of, write_upscaler
from build_engines.upscale.imported import import_onnx
from build_engines.upscale.network import Served, Upscaler
from build_engines.upscale.pictures import REDUCTIONS, drawn, reduced
from build_engines.upscale.training import evaluate, psnr, train
from serve.ensembles.illustrator.finishing.finishing import filtered, finishers_in
from serve.vector.compare import composite

ICONS = [*(simple(seed) for seed in range(6)), *(complex_(seed) for seed in range(6))]


@pytest.mark.parametrize("scale", [2, 4])
def test_small_pictures_have_a_part_of_the_sides(scale: int) -> None:
    large = drawn(ICONS[0], 96, scale)
    for how in REDUCTIONS:
        small = reduced(ICONS[0], large, scale, how)
        assert small.shape == (large.shape[0] // scale, large.shape[1] // scale, 4)


def test_network_begins_as_bicubic() -> None:
    report = evaluate(Upscaler(2), ICONS, most=4)
    assert abs(report.network - report.bicubic) < 1
    assert report.lanczos > report.bicubic


def test_trained_network_becomes_the_folder_that_serving_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BATCH", 4)
    network = train(2, 0.02, icons=ICONS)
    assert network.tail.weight.abs().max() > 0
    report = evaluate(network, ICONS, most=1)
    folder = write_upscaler(network, report, 0.02, tmp_path, "5")
    (found,) = finishers_in(tmp_path)
    assert (found.name, found.task, found.scale, found.channels) == ("upscale_2x", "upscale", 2, 4)
    assert found.overlap_px == network.reach_px
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["parity"]["max_relative_error"] < manifest["parity"]["largest_limit"]
    run = open_onnxruntime(folder / "1" / "model.onnx", contract_of("upscale_2x", 4))
    pixels = np.random.default_rng(1).integers(0, 256, (1, 20, 30, 4), np.uint8)
    answer = run({"image": pixels})["result"]
    assert answer.shape == (1, 40, 60, 4)
    with torch.no_grad():
        expected = Served(network)(torch.from_numpy(pixels)).numpy()
    assert np.abs(answer.astype(int) - expected).max() <= 1


def test_network_sees_as_far_as_it_says() -> None:
    network = Upscaler(2).eval()
    nn.init.normal_(network.tail.weight)
    x = torch.rand(1, 4, 40, 40)
    changed = x.clone()
    changed[..., 20, 20] += 1
    with torch.no_grad():
        different = (network(x) != network(changed)).any(dim=1)[0].nonzero()
    assert different.min() >= 2 * (20 - network.reach_px)
    assert different.max() <= 2 * (20 + network.reach_px) + 1


@pytest.mark.parametrize("scale", [2, 4])
def test_shipped_upscaler_beats_the_filters(scale: int) -> None:
    """What its manifest says of held-out icons, and icons that are drawn here."""
    name = f"upscale_{scale}x"
    folder = MODEL_REPOSITORY / name
    manifest = json.loads((folder / "manifest.json").read_text())
    content = (folder / "1" / "model.onnx").read_bytes()
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["bytes"] == len(content) < 1_500_000
    assert manifest["metrics"]["gain_db"] > 1
    assert {one["license"] for one in manifest["data"]["sets"]} <= {"CC0-1.0", "Apache-2.0", "MIT"}
    run = open_onnxruntime(folder / "1" / "model.onnx", contract_of(name, 4))
    gains = []
    for icon in ICONS[::3]:
        large = drawn(icon, 128, scale)
        small = reduced(icon, large, scale, "box")
        ways = run({"image": small[None]})["result"][0], filtered(small, large.shape[1::-1], Image.Resampling.LANCZOS)
        ours, lanczos = (psnr(composite(one), composite(large)) for one in ways)
        gains.append(ours - lanczos)
    assert np.mean(gains) > 0.5, gains


def graph_of(nodes: list[onnx.NodeProto], shape: list[int | str], weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "H", "W"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def enlarger(times: float) -> onnx.ModelProto:
    scales = {"scales": np.array([1, 1, times, times], np.float32)}
    return graph_of(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")], ["n", 3, "h", "w"], scales
    )


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "network.onnx"
    onnx.save_model(model, str(path))
    return path


def test_upscaler_of_another_origin_becomes_an_engine(tmp_path: Path) -> None:
    folder = import_onnx(saved(enlarger(3), tmp_path), "esrgan", "upscale", tmp_path / "repository")
    (found,) = finishers_in(tmp_path / "repository")
    assert (found.name, found.scale, found.channels, found.side_px) == ("esrgan", 3, 3, None)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 5, 7, 3), np.uint8)
    answer = open_onnxruntime(folder / "1" / "model.onnx", contract_of("esrgan", 3))({"image": pixels})["result"]
    assert np.array_equal(answer[:, ::3, ::3], pixels)


def test_background_and_face_networks_become_engines(tmp_path: Path) -> None:
    mean = graph_of([helper.make_node("ReduceMean", ["x", "axis"], ["y"])], [1, 3, 32, 32], {"axis": np.array([1])})
    import_onnx(saved(mean, tmp_path), "matte", "background", tmp_path / "repository", side_px=32)
    same = graph_of([helper.make_node("Identity", ["x"], ["y"])], ["n", 3, "h", "w"], {})
    import_onnx(saved(same, tmp_path), "faces", "faces", tmp_path / "repository")
    found = {one.task: one for one in finishers_in(tmp_path / "repository")}
    assert found["background"].side_px == 32
    assert found["faces"].scale == 1


def test_other_files_are_refused(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    text = tmp_path / "text.onnx"
    text.write_bytes(b"no model")
    one_channel = graph_of([helper.make_node("Identity", ["x"], ["y"])], ["n", 1, "h", "w"], {})
    same = graph_of([helper.make_node("Identity", ["x"], ["y"])], ["n", 3, "h", "w"], {})
    add = helper.make_node("Add", ["x", "zeros"], ["y"])
    fixed = graph_of([add], ["n", 3, "h", "w"], {"zeros": np.zeros((1, 3, 32, 32), np.float32)})
    for source, task, reason in (
        (tmp_path / "missing.onnx", "upscale", "there is no file"),
        (text, "upscale", "is no ONNX model"),
        (saved(one_channel, tmp_path), "upscale", "must be float32"),
    ):
        with pytest.raises(Refused, match=reason):
            import_onnx(source, "odd", task, repository)
    for model, task, reason in (
        (same, "upscale", "a multiple"),
        (same, "background", "one channel"),
        (fixed, "faces", "--side"),
        (same, "paint", "is none of"),
    ):
        with pytest.raises(Refused, match=reason):
            import_onnx(saved(model, tmp_path), "odd", task, repository)
    assert not list(repository.glob("*/manifest.json"))
    assert not list(repository.glob(".*"))
