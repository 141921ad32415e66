"""The `atelier` command against a server on a real socket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from standin import Served
from typer.testing import CliRunner

from serve.cli.main import HIDDEN, LOADED_ON_USE, app
from serve.settings import Settings, leaves

run = CliRunner().invoke


def test_help_lists_every_command() -> None:
    shown = run(app, ["--help"]).output
    assert all(command in shown for command in ("up", "down", "status", "settings", *LOADED_ON_USE.keys() - HIDDEN))
    assert not any(command in shown for command in HIDDEN)


def test_unknown_command_is_an_error_that_names_those_alike() -> None:
    done = run(app, ["vectorise"])
    assert done.exit_code == 2
    assert "vectorize" in done.stderr


def test_settings_print_as_table_json_and_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_HTTP__PORT", "8123")
    assert json.loads(run(app, ["settings", "--json"]).stdout)["http"]["port"] == 8123
    document = run(app, ["settings", "--markdown"]).stdout
    assert all(f"`{leaf.name}`" in document for leaf in leaves(Settings.model_construct()))
    monkeypatch.setenv("COLUMNS", "200")
    assert "8123" in run(app, ["settings"]).stdout


def test_invalid_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_HTTP__PORT", "many")
    done = run(app, ["status"])
    assert done.exit_code == 2
    assert "http.port" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("ATELIER_ILLUSTRATOR__FAMILIES", "mini", "illustrator"),
        ("ATELIER_HTTP", "8000", "http"),
        ("ATELIER_CONFIG", "[/no such tag].yaml", "[/no such tag].yaml"),
    ],
)
def test_invalid_setting_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, word: str
) -> None:
    monkeypatch.setenv(variable, value)
    done = run(app, ["settings"], env={"COLUMNS": "200"})
    assert done.exit_code == 2, done.exception
    assert word in done.stderr


@pytest.mark.parametrize("applications", ["3", "[]", "[none]", "{}"])
def test_invalid_ray_serve_config_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, applications: str
) -> None:
    config = tmp_path / "site.yaml"
    config.write_text(f"applications: {applications}")
    monkeypatch.setenv("ATELIER_CONFIG", str(config))
    done = run(app, ["settings"])
    assert done.exit_code == 2, done.exception
    assert "applications" in done.stderr


def test_vectorize_one_picture(served: Served, logo: bytes, tmp_path: Path) -> None:
    picture = tmp_path / "logo.png"
    picture.write_bytes(logo)
    out = tmp_path / "out.svg"
    done = run(app, ["vectorize", str(picture), "-o", str(out), "--url", served.http, "--validate"])
    assert done.exit_code == 0, done.output
    assert out.read_text().startswith("<svg")
    assert "0.9500" in done.stderr
    done = run(app, ["vectorize", str(picture), "-o", "-", "--url", served.http])
    assert done.stdout.startswith("<svg")
    assert run(app, ["vectorize", str(picture), "--url", served.http]).exit_code == 0
    assert (tmp_path / "logo.svg").exists()


def test_vectorize_to_other_formats(served: Served, logo: bytes, tmp_path: Path) -> None:
    """C-140: by the output's suffix, or by name."""
    picture = tmp_path / "logo.png"
    picture.write_bytes(logo)
    for name, start in (("a.pdf", b"%PDF-"), ("a.eps", b"%!PS"), ("a.svgz", b"\x1f\x8b")):
        done = run(app, ["vectorize", str(picture), "-o", str(tmp_path / name), "--url", served.http])
        assert done.exit_code == 0, done.output
        assert (tmp_path / name).read_bytes().startswith(start)
    folder = str(tmp_path / "png")
    done = run(app, ["vectorize", str(tmp_path), "-o", folder, "-f", "png", "--scale", "2", "--url", served.http])
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "png" / "logo.png").size == (128, 128)
    for wrong, word in ((["-f", "ai"], "format"), (["-f", "json"], "format"), (["--scale", "3"], "scale")):
        done = run(app, ["vectorize", str(picture), *wrong, "--url", served.http])
        assert done.exit_code == 2
        assert word in done.stderr


def test_vectorize_folder_with_an_invalid_picture(served: Served, logo: bytes, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(logo)
    (tmp_path / "c.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("left alone")
    arguments = ["vectorize", str(tmp_path), "-o", str(tmp_path / "svg"), "--url", served.http, "--tier", "3"]
    done = run(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert "2 converted, 1 failed" in done.stderr
    assert sorted(path.name for path in (tmp_path / "svg").iterdir()) == ["a.svg", "b.svg"]
    lines = [json.loads(line) for line in run(app, [*arguments, "--json"]).stdout.splitlines()]
    assert [line["success"] for line in lines] == [True, True, False]
    assert lines[0]["ai_metadata"]["selected_tier"] == "3"
    assert "not a readable picture" in lines[2]["error"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--tier", "9"], "tier"),
        (["--target-quality", "2"], "target_quality"),
        (["--time-budget", "-1"], "time_budget"),
        (["--max-paths", "0"], "max_paths"),
        (["--url", "ftp://here"], "url"),
        (["--url", "http://127.0.0.1:9"], "no stack answers"),
    ],
)
def test_wrong_arguments_are_named(logo: bytes, tmp_path: Path, options: list[str], word: str) -> None:
    picture = tmp_path / "logo.png"
    picture.write_bytes(logo)
    options = options if "--url" in options else [*options, "--url", "http://127.0.0.1:9"]
    done = run(app, ["vectorize", str(picture), *options])
    assert done.exit_code in (1, 2)
    assert word in done.stderr
    assert "Traceback" not in done.output


def test_pictures_with_the_same_stem_keep_their_suffix(served: Served, logo: bytes, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        (tmp_path / name).write_bytes(logo)
    done = run(app, ["vectorize", str(tmp_path), "--url", served.http, "--json"])
    assert done.exit_code == 0, done.output
    assert [Path(json.loads(line)["svg"]).name for line in done.stdout.splitlines()] == [
        "a.jpg.svg",
        "a.png.svg",
        "b.svg",
    ]
    assert {path.name for path in tmp_path.glob("*.svg")} == {"a.jpg.svg", "a.png.svg", "b.svg"}


def test_pictures_with_the_same_output_path_are_refused(served: Served, logo: bytes, tmp_path: Path) -> None:
    pictures = [tmp_path / folder / "a.png" for folder in ("one", "two")]
    for picture in pictures:
        picture.parent.mkdir()
        picture.write_bytes(logo)
    out = tmp_path / "out"
    done = run(app, ["vectorize", *map(str, pictures), "-o", str(out), "--url", served.http])
    assert done.exit_code == 2
    assert all(str(picture) in done.stderr for picture in pictures)
    assert not out.exists()
    assert run(app, ["vectorize", *map(str, pictures), "--url", served.http]).exit_code == 0
    assert all(picture.with_suffix(".svg").exists() for picture in pictures)


@pytest.mark.parametrize("output", ["-", "out.svg", "notes"])
@pytest.mark.parametrize("arguments", [["a.png", "b.png"], ["."]])
def test_several_pictures_are_written_to_a_folder(
    served: Served, logo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        Path(name).write_bytes(logo)
    Path("notes").write_text("a file")
    done = run(app, ["vectorize", *arguments, "-o", output, "--url", served.http])
    assert done.exit_code == 2
    assert f"--output {output} is no folder" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "notes"]


def test_unreadable_folder_is_reported(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    done = run(app, ["vectorize", str(tmp_path), "--url", served.http])
    assert done.exit_code == 2
    assert f"the folder {tmp_path} cannot be read: Permission denied" in done.stderr


def test_table_shows_full_paths(served: Served, logo: bytes, tmp_path: Path) -> None:
    deep = tmp_path / ("a-long-name-" * 8)
    deep.mkdir()
    (deep / "logo.png").write_bytes(logo)
    done = run(app, ["vectorize", str(deep), "--url", served.http], env={"COLUMNS": "80"})
    assert f" {deep / 'logo.svg'} " in done.stderr


def test_names_with_markup_are_printed_literally(served: Served, logo: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "x["
    folder.mkdir()
    (folder / "red].png").write_bytes(logo)  # "[/red]" would close a markup tag that is not open
    done = run(app, ["vectorize", str(folder), "--url", served.http])
    assert done.exit_code == 0, done.exception
    assert "x[/red].svg" in done.stderr
    done = run(
        app, ["vectorize", str(folder / "red].png"), str(folder), "-o", str(folder / "red].svg"), "--url", served.http]
    )
    assert done.exit_code == 2, done.exception
    assert "x[/red].svg" in done.stderr.replace("\n", "")


def test_numbers_in_messages_are_plain(logo: bytes, tmp_path: Path) -> None:
    picture = tmp_path / "logo.png"
    picture.write_bytes(logo)
    done = run(app, ["vectorize", str(picture), "--max-bytes", "5"])
    assert "greater than or equal to 100\n" in done.stderr


def test_empty_folder_is_reported(served: Served, tmp_path: Path) -> None:
    done = run(app, ["vectorize", str(tmp_path), "--url", served.http])
    assert done.exit_code == 2
    assert "no pictures" in done.stderr


def test_status(served: Served) -> None:
    done = run(app, ["status", "--url", f"http://{served.http}"])
    assert done.exit_code == 0
    assert "plus_one" in done.stdout
    assert run(app, ["status", "--url", "http://127.0.0.1:9"]).exit_code == 3


def test_down_without_a_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATELIER_STATE_DIR", str(tmp_path))
    done = run(app, ["down"])
    assert done.exit_code == 0
    assert "no stack of these settings is running" in done.stderr


def test_up_names_the_port_in_use(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATELIER_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("ATELIER_HTTP__PORT", served.http.rpartition(":")[2])
    done = run(app, ["up"])
    assert done.exit_code == 3
    assert "http.port" in done.stderr
