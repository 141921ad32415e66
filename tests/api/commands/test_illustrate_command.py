"""The command `atelier illustrate`, with a stack on real sockets and without one."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from both_doors import both_doors
from drawn_pictures import infotext, record
from illustrator_standin import IllustratorStandIn
from pictures import drawn
from PIL import Image
from rich.console import Console
from standin import Served, StandIn
from typer.testing import CliRunner

import serve.ensembles.illustrator.illustrator
import serve.ensembles.vectorizer.vectorizer
from serve.api.inference import illustrate_model
from serve.cli import illustrate
from serve.cli.main import app
from serve.cluster.grpc_client import GrpcClient
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.errors import EngineFailure, EngineUnavailable, Overloaded
from serve.settings import IllustratorSettings
from tests.ensembles.drawn_family import engines, write_family

PROMPT = "red apple, flat"
NOWHERE = "127.0.0.1:9"


@pytest.fixture(scope="module")
def artist() -> IllustratorStandIn:
    return IllustratorStandIn()


@pytest.fixture(scope="module")
def stack(artist: IllustratorStandIn) -> Iterator[Served]:
    with both_doors(artist) as doors:
        yield doors


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object, stack: Served | None = None) -> Any:
    at = ["--url", stack.grpc] if stack else []
    return CliRunner().invoke(app, ["illustrate", *map(str, arguments), *at])


def test_picture_contains_its_metadata(stack: Served) -> None:
    done = run(
        PROMPT, "-o", "apple.png", "--seed", 7, "--steps", 5, "--negative", "pear", "--guidance", 2.5,
        "--sampler", "ddim", "--width", 96, "--height", 72, "--model", "mini", stack=stack,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    picture = Image.open("apple.png")
    assert (picture.format, picture.size) == ("PNG", (96, 72))
    made = record(picture)
    assert made is not None
    expected = {
        "prompt": PROMPT, "negative_prompt": "pear", "model": "mini", "num_inference_steps": 5, "guidance_scale": 2.5,
        "sampler": "ddim", "seed": 7, "width": 96, "height": 72,
    }  # fmt: skip
    assert made.items() >= expected.items()
    assert "Negative prompt: pear" in (infotext(picture) or "")
    assert "apple.png" in done.stderr
    assert "seed 7" in done.stderr
    assert "ddim, 5 steps, guidance 2.5" in done.stderr


@pytest.mark.parametrize(("name", "form"), [("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.webp", "WEBP")])
def test_suffix_selects_the_format(stack: Served, name: str, form: str) -> None:
    assert run(PROMPT, "-o", name, "--no-metadata", "--quality", 60, stack=stack).exit_code == 0
    picture = Image.open(name)
    assert picture.format == form
    assert not picture.getexif()


def test_svg_output_uses_the_vectorizer(stack: Served) -> None:
    assert run(PROMPT, "-o", "new/apple.svg", "-n", 2, stack=stack).exit_code == 0
    assert Path("new/apple-1.svg").read_text().startswith("<svg")
    assert Path("new/apple-2.svg").exists()


def test_several_pictures_have_different_seeds(stack: Served) -> None:
    done = run(PROMPT, "-o", "apple.png", "--n", 3, "--seed", 40, "--json", stack=stack)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["image"], line["seed"]) for line in lines] == [(f"apple-{i + 1}.png", 40 + i) for i in range(3)]
    assert all(Path(line["image"]).stat().st_size == line["bytes"] for line in lines)
    alone = run(PROMPT, "-o", "again.png", "--seed", 41, stack=stack)
    assert alone.exit_code == 0
    assert np.array_equal(np.asarray(Image.open("again.png")), np.asarray(Image.open("apple-2.png")))


def test_default_file_name_comes_from_the_prompt(stack: Served) -> None:
    assert run(PROMPT, stack=stack).exit_code == 0
    assert Path("red-apple-flat.png").exists()
    Path("folder").mkdir()
    assert run("林檎", "-o", "folder", stack=stack).exit_code == 0
    assert Path("folder/illustration.png").exists()


def test_standard_output_has_only_the_picture(stack: Served) -> None:
    done = run(PROMPT, "-o", "-", "--json", stack=stack)
    assert Image.open(io.BytesIO(done.stdout_bytes)).size == (64, 64)
    assert json.loads(done.stderr.splitlines()[0])["image"] == "-"


def test_terminal_shows_a_progress_bar(
    stack: Served, artist: IllustratorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(illustrate, "err", Console(file=shown, force_terminal=True, width=100))
    monkeypatch.setattr(artist, "step_s", 0.02)
    assert run(PROMPT, "--steps", 20, "-n", 2, stack=stack).exit_code == 0
    assert "Drawing" in shown.getvalue()
    assert "/40" in shown.getvalue()
    assert artist.asked[-1].preview_every == 2
    assert run(PROMPT, stack=stack).exit_code == 0
    assert artist.asked[-1].preview_every == 3


def test_no_previews_without_a_terminal(stack: Served, artist: IllustratorStandIn) -> None:
    run(PROMPT, stack=stack)
    assert artist.asked[-1].preview_every == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["", "-o", "a.png"], "prompt: must not be empty"),
        (["x" * 100_000], "prompt: has 100000 characters"),
        (["red", "--steps", "0"], "--steps: must be from 1 to 1000"),
        (["red", "--seed", "-2"], "--seed: must be from -1"),
        (["red", "-n", "11"], "--n: must be from 1 to 10"),
        (["red", "--guidance", "nan"], "--guidance: must be a finite number"),
        (["red", "--guidance", "99"], "--guidance: must be from 0 to 50"),
        (["red", "--width", "1000000000"], "--width: must be from 1 to 4096"),
        (["red", "--width", "65"], "--width: must be a size of the model"),
        (["red", "--sampler", "magic"], "--sampler: no such sampler; there are ddim, euler"),
        (["red", "--model", "sdxl"], "--model: there is no such model"),
        (["red", "--background", "checked"], "--background: must be auto, transparent, opaque or a colour"),
        (["red", "--timeout", "0"], "--timeout: must be from 0.001 to 3600"),
        (["red", "-o", "a.gif"], "--output: must end in .png, .jpg, .jpeg, .webp, .svg"),
        (["red", "-o", "no-such-folder/a"], "--output: must end in"),
        (["red", "-o", "-", "-n", "2"], "--output: standard output takes one picture"),
        (["red", "--url", "http://127.0.0.1:8000"], "--url: must be the host:port of a gRPC door"),
        (["red", "--quality", "101"], "--quality"),
        (["red", "--steps", "many"], "--steps"),
        ([], "prompt"),
    ],
)
def test_wrong_arguments_are_named(stack: Served, arguments: list[str], words: str) -> None:
    done = run(*arguments, stack=None if "--url" in arguments else stack)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    assert not list(Path().iterdir())


@pytest.mark.parametrize("error", [EngineFailure("it burst"), Overloaded("it burst"), RuntimeError("it burst")])
def test_failed_drawing_is_reported(
    stack: Served, artist: IllustratorStandIn, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(artist, "failure", error)
    done = run(PROMPT, stack=stack)
    assert done.exit_code == 1
    assert ("internal error" if isinstance(error, RuntimeError) else "it burst") in done.stderr
    assert not list(Path().iterdir())


def test_unwritable_file_is_reported(stack: Served) -> None:
    Path("file").touch()
    done = run(PROMPT, "-o", "file/apple.png", stack=stack)
    assert done.exit_code == 1
    assert "error:" in done.stderr


def test_missing_stack_is_reported() -> None:
    done = run(PROMPT, "--url", NOWHERE)
    assert done.exit_code == 1
    assert f"no stack answers at {NOWHERE}" in done.stderr


def test_stack_without_models_prints_the_command_to_run(served: Served) -> None:
    done = run(PROMPT, stack=served)
    assert done.exit_code == 2
    assert "python -m build_engines illustrate" in done.stderr


def test_closed_output_ends_the_drawing(
    stack: Served, artist: IllustratorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artist, "step_s", 0.05)
    closed, client = artist.closed, GrpcClient(stack.grpc)
    drawing = client.draw(IllustrateOptions(PROMPT, num_inference_steps=900, preview_every=1))
    next(drawing)
    drawing.close()  # type: ignore[attr-defined]
    client.close()
    deadline = time.monotonic() + 60
    while artist.closed == closed and time.monotonic() < deadline:
        time.sleep(0.02)
    assert artist.closed == closed + 1


# --- without a stack --------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No stack listens at the configured ports; a family whose engines are functions, and a stand-in Vectorizer."""
    repository = write_family(tmp_path_factory.mktemp("repository"))
    monkeypatch.setenv("ATELIER_GRPC__PORT", "9")
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__MODEL_REPOSITORY", str(repository))

    def own(settings: IllustratorSettings, others: Sequence[str] = ()) -> Illustrator:
        return Illustrator(settings, engines=engines(), others=others)  # type: ignore[arg-type]

    monkeypatch.setattr(serve.ensembles.illustrator.illustrator, "Illustrator", own)
    monkeypatch.setattr(serve.ensembles.vectorizer.vectorizer, "Vectorizer", StandIn)
    return repository


def test_command_draws_in_process_without_a_stack(alone: Path) -> None:
    assert run("red apple", "-o", "apple.png", "--seed", 7, "-n", 2).exit_code == 0
    assert record(Image.open("apple-1.png"))["model_versions"]["toy_unet"] == "7"  # type: ignore[index]
    assert run("red apple", "-o", "apple.svg", "--seed", 7).exit_code == 0
    assert Path("apple.svg").read_text().startswith("<svg")


def test_moderation_policy_applies_without_a_stack(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_MODERATION__RULES", '[{"category": "fruit", "words": ["apple"]}]')
    monkeypatch.setenv("ATELIER_MODERATION__POLICY", "flag")
    flagged = run("red apple", "-o", "apple.png", "--seed", 7)
    assert (flagged.exit_code, "flag: prompt is fruit (1.00)" in flagged.stderr) == (0, True)
    report = json.loads(run("red apple", "-o", "apple.png", "--seed", 7, "--json").stdout)
    assert report["moderation"]["category"] == "fruit"
    monkeypatch.setenv("ATELIER_MODERATION__POLICY", "refuse")
    refused = run("red apple", "-o", "refused.png")
    assert (refused.exit_code, Path("refused.png").exists()) == (2, False)


def test_progress_bar_without_a_stack(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(illustrate, "err", Console(file=shown, force_terminal=True, width=100))
    assert run("red apple", "--steps", 20).exit_code == 0
    assert "/20" in shown.getvalue()


@pytest.mark.parametrize(("option", "value"), [("--sampler", "magic"), ("--width", 65), ("--model", "sdxl")])
def test_wrong_arguments_without_a_stack(alone: Path, option: str, value: object) -> None:
    done = run("red apple", option, value)
    assert done.exit_code == 2
    assert f"{option}: " in done.stderr


def test_missing_models_print_the_command_to_run(alone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATELIER_ILLUSTRATOR__MODEL_REPOSITORY", str(tmp_path))
    done = run("red apple")
    assert done.exit_code == 2
    assert "python -m build_engines illustrate" in " ".join(done.stderr.split())


def test_invalid_manifest_is_reported(alone: Path) -> None:
    (alone / "toy_unet" / "manifest.json").write_text("{")
    done = run("red apple")
    assert done.exit_code == 1
    assert "cannot be read" in done.stderr


def test_engine_start_failure_is_reported(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: Illustrator) -> None:
        raise EngineUnavailable("no Triton here")

    monkeypatch.setattr(Illustrator, "start", refuse)
    done = run("red apple")
    assert done.exit_code == 1
    assert "no Triton here" in done.stderr


PICTURE, MASK = drawn("RGB"), Image.new("L", (64, 64))
MASK.paste(255, (8, 8, 40, 40))


def test_picture_mask_and_margins_are_sent(stack: Served, artist: IllustratorStandIn) -> None:
    PICTURE.save("in.png")
    MASK.save("mask.png")
    chosen = ["--image", "in.png", "--mask", "mask.png", "--strength", 0.5, "--outpaint", "left=16,top=8"]
    done = run(PROMPT, "-o", "out.png", "--seed", 7, *chosen, "--mask-blur", 2, stack=stack)
    assert done.exit_code == 0, done.output
    source = artist.asked[-1].source
    assert source is not None
    assert source.mask is not None
    assert (source.strength, source.mask_blur, source.outpaint.left, source.outpaint.top) == (0.5, 2, 16, 8)
    assert source.image.data == Path("in.png").read_bytes()
    assert (record(Image.open("out.png")) or {})["source"]["strength"] == 0.5


def test_references_and_control_pictures_are_sent(stack: Served, artist: IllustratorStandIn) -> None:
    for name in ("bella.png", "bo.png", "edges.png"):
        PICTURE.save(name)
    Path("guides.json").write_text('{"references": [{"image": "bo.png", "weight": 0.5}]}')
    chosen = ["--reference", "bella.png", "--control", "canny=edges.png", "--regions", "guides.json"]
    done = run(PROMPT, "-o", "out.png", *chosen, stack=stack)
    assert done.exit_code == 0, done.output
    options = artist.asked[-1]
    assert [use.weight for use in options.references] == [0.5, 1.0]
    assert options.references[1].picture.data == Path("bella.png").read_bytes()
    assert [(use.type, use.picture.data) for use in options.controls] == [("canny", Path("edges.png").read_bytes())]


def test_loras_of_the_site_are_sent_with_their_weights(
    stack: Served, artist: IllustratorStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the stack, whose door is the same for all clients: the command sends names and weights."""

    async def found(options: IllustrateOptions, _state: object, **_: object) -> IllustrateOptions:
        return options.with_loras(lambda lora, _: replace(lora, object="0" * 64 + ".bin", families=("mini",)))

    monkeypatch.setattr(illustrate_model, "resolve_loras", found)
    chosen = ["--lora", "ink:0.8", "--lora", "sketch:-0.3"]
    done = run(PROMPT, "-o", "out.png", *chosen, "--seed", 7, stack=stack)
    assert done.exit_code == 0, done.output
    assert [(lora.name, lora.weight) for lora in artist.asked[-1].loras] == [("ink", 0.8), ("sketch", -0.3)]


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--control", "canny"], "--control"),
        (["--control", "canny=text.png"], "controls[0].image"),
        (["--reference", "text.png"], "references[0].image"),
        (["--lora", "ink:much"], "loras"),
        (["--lora", "ink"], "loras"),
        (["--mask", "mask.png"], "--mask"),
        (["--strength", 0.5], "--strength"),
        (["--image", "in.png", "--strength", 0], "--strength"),
        (["--image", "in.png", "--strength", 2], "--strength"),
        (["--image", "in.png", "--mask", "small.png"], "--mask"),
        (["--image", "in.png", "--mask", "black.png"], "--mask"),
        (["--image", "text.png"], "--image"),
        (["--image", "in.png", "--outpaint", "up=3"], "--outpaint"),
        (["--image", "in.png", "--outpaint", "left=99999"], "--outpaint"),
        (["--image", "in.png", "--mask-crop"], "--mask-crop"),
        (["--image", "in.png", "--mask-blur", 9999], "--mask-blur"),
    ],
    ids=repr,
)
def test_bad_pictures_name_their_option(stack: Served, arguments: list[object], option: str) -> None:
    PICTURE.save("in.png")
    MASK.save("mask.png")
    MASK.resize((32, 32)).save("small.png")
    Image.new("L", (64, 64)).save("black.png")
    Path("text.png").write_text("no picture")
    done = run(PROMPT, "-o", "out.png", *arguments, stack=stack)
    assert done.exit_code == 2, done.output
    assert f"{option}: " in done.stderr


def test_missing_picture_is_an_error(stack: Served) -> None:
    assert run(PROMPT, "-o", "out.png", "--image", "gone.png", stack=stack).exit_code == 1
