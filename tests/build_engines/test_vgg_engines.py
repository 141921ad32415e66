"""Style transfer by optimisation: engines from a small random VGG of the real class, and what they paint (C-010)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from build_engines.cli import app
from build_engines.vgg.checkpoint import read
from build_engines.vgg.network import Describe, Features, Gradient
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.illustrator.service import Progress, StreamOptions
from serve.ensembles.restyler.restyle import Restyle, StyleUse, restyle_from_json
from serve.errors import Unsupported
from serve.settings import IllustratorSettings
from tests.ensembles.drawn_family import engines, write_family
from tests.fakes import FakeEngines

LAYERS = (8, 8, "pool", 12, 12, "pool", 16)
PICTURE, STYLE = (
    np.random.default_rng(seed).integers(low, high, shape).astype(np.uint8)
    for seed, low, high, shape in ((3, 0, 256, (46, 70, 3)), (1, 150, 250, (32, 40, 3)))
)


def network() -> nn.Sequential:
    """As torchvision numbers them: a convolution, a ReLU, pooling."""
    torch.manual_seed(0)
    made: list[nn.Module] = []
    width = 3
    for layer in LAYERS:
        if isinstance(layer, int):
            made += [nn.Conv2d(width, layer, 3, padding=1), nn.ReLU()]
            width = layer
        else:
            made.append(nn.MaxPool2d(2))
    return nn.Sequential(*made)


def weights_of(made: nn.Module) -> dict[str, torch.Tensor]:
    return {f"features.{name}": value for name, value in made.state_dict().items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("vgg") / "model.safetensors"
    save_file(weights_of(network()), str(file))
    return file


def built(source: Path, repository: Path) -> Any:
    return CliRunner().invoke(app, ["vgg", "--source", str(source), "--repository", str(repository)])


@pytest.fixture(scope="module")
def repository(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_family(tmp_path_factory.mktemp("repository"))
    done = built(checkpoint, folder)
    assert done.exit_code == 0, done.output
    return folder


def test_the_gradient_is_that_of_autograd(checkpoint: Path) -> None:
    """Of the losses written with the library's own layers, with pooling by the mean."""
    features = Features(read(checkpoint.parent))
    layers = [nn.AvgPool2d(2) if isinstance(one, nn.MaxPool2d) else one for one in network()]
    torch.manual_seed(1)
    image, other = 255 * torch.rand(2, 12, 20, 3), 255 * torch.rand(2, 12, 20, 3)
    grams, content = Describe(features)(other)
    weights = torch.tensor([[2.0, 0.5], [0.0, 3.0]])
    found, losses = Gradient(features)(image, grams, content, weights)

    def described(picture: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        x = (picture / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
        x, seen = x.permute(0, 3, 1, 2), []
        for layer in layers:
            x = layer(x)
            seen += [x] if isinstance(layer, nn.ReLU) else []
        return [torch.einsum("bihw,bjhw->bij", one, one) / one[0, 0].numel() for one in (seen[0], seen[2], seen[4])], x

    image.requires_grad_(True)
    (styles, x), (wanted, aim) = described(image), described(other)
    style = torch.stack([(a - b).square().mean((1, 2)) for a, b in zip(styles, wanted, strict=True)]).mean(0)
    expected = torch.stack([style, (x - aim).square().mean((1, 2, 3))], 1)
    torch.testing.assert_close(losses, expected)
    (slope,) = torch.autograd.grad((expected * weights).sum(), image)
    torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-7)


def with_written(repository: Path, losses: list[float]) -> FakeEngines:
    """The engines that were written, by ONNX Runtime, beside a family of functions; ``losses`` gets those of style."""
    fake = engines()

    def answer_of(engine: str) -> Any:
        session = onnxruntime.InferenceSession(str(repository / engine / "1" / "model.onnx"))
        names = [one.name for one in session.get_outputs()]

        def answer(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            found = dict(zip(names, session.run(None, dict(inputs)), strict=True))
            if "losses" in found:
                losses.append(float(found["losses"][0, 0]))
            return found

        return answer

    fake.answers |= {name: answer_of(name) for name in ("vgg_describe", "vgg_gradient")}
    return fake


def painting(iterations: int) -> IllustrateOptions:
    def sent(pixels: NDArray[np.uint8], name: str) -> InputPicture:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return InputPicture(name, pixels.shape[1], pixels.shape[0], file.getvalue())

    restyle = Restyle((StyleUse(sent(STYLE, "style.png")),), iterations=iterations)
    return IllustrateOptions("", source=PictureSource(sent(PICTURE, "a.png")), restyle=restyle, draws=False)


async def test_a_picture_comes_nearer_to_the_style_step_by_step(checkpoint: Path, repository: Path) -> None:
    losses: list[float] = []
    fake = with_written(repository, losses)
    illustrator = Illustrator(IllustratorSettings(model_repository=repository), engines=fake)  # type: ignore[arg-type]
    options = painting(25)
    assert options.restyle is not None
    assert restyle_from_json(options.restyle.to_json()).iterations == 25
    items = [item async for item in illustrator.stream(options, StreamOptions(progress_s=0.001))]
    drawn = items[-1]
    assert isinstance(drawn, Illustration)
    made = drawn.pictures[0].pixels
    assert made.shape == PICTURE.shape
    assert len(losses) == 25
    assert losses[-1] < 0.3 * losses[0]
    describe = Describe(Features(read(checkpoint)))
    was, now, style = (
        describe(torch.from_numpy(one[:32, :40][None].astype(np.float32)))[0] for one in (PICTURE, made, STYLE)
    )
    assert (now - style).square().mean() < 0.5 * (was - style).square().mean()
    assert {item.steps for item in items if isinstance(item, Progress)} == {25}
    assert set(drawn.model_versions) == {"vgg_gradient", "vgg_describe"}
    assert drawn.parameters.model == "vgg_gradient"


async def test_without_the_engines_the_answer_says_what_to_run(tmp_path: Path) -> None:
    settings = IllustratorSettings(model_repository=write_family(tmp_path))
    with pytest.raises(Unsupported, match="build_engines vgg"):
        await Illustrator(settings, engines=engines()).draw(painting(5))  # type: ignore[arg-type]


def test_other_files_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    weights, file = weights_of(network()), tmp_path / "bad.safetensors"
    cases: list[tuple[dict[str, torch.Tensor], str]] = [
        ({"layer1.weight": torch.zeros(1)}, "no features.0.weight"),
        ({**weights, "features.1.running_mean": torch.zeros(8)}, "batch normalisation"),
        ({**weights, "features.2.weight": torch.zeros(8, 9, 3, 3)}, "features.2 does not continue"),
        ({name: value for name, value in weights.items() if name != "features.2.bias"}, "features.2 does not continue"),
    ]
    for tensors, reason in cases:
        save_file(tensors, str(file))
        done = built(file, tmp_path / "engines")
        assert done.exit_code == 1
        assert reason in done.output
    file.write_bytes(checkpoint.read_bytes()[:5000])
    assert "no safetensors file" in built(file, tmp_path / "engines").output
    assert not (tmp_path / "engines").exists()
