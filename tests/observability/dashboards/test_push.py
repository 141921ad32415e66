"""`atelier dashboards push`: creates the dashboards in a Grafana, updates them without duplicates, reports errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from grafana_standin import TOKEN, GrafanaStandIn
from programs.http_server import listening
from typer.testing import CliRunner, Result

from serve.cli.main import app
from serve.observability.dashboards.boards import BOARDS


@pytest.fixture
def grafana() -> Iterator[tuple[GrafanaStandIn, str]]:
    standin = GrafanaStandIn()
    with listening(standin) as address:
        yield standin, f"http://{address}"


def push(url: str, token: str = TOKEN, *more: str) -> Result:
    return CliRunner().invoke(app, ["dashboards", "push", *more], env={"GRAFANA_URL": url, "GRAFANA_TOKEN": token})


def test_repeated_push_keeps_one_copy_of_each_dashboard(grafana: tuple[GrafanaStandIn, str]) -> None:
    standin, url = grafana
    first = push(url)
    assert first.exit_code == 0, first.output
    assert first.stdout.split() == [f"{url}/d/{board.uid}" for board in BOARDS]
    assert push(url).exit_code == 0
    assert standin.folders == {"atelier": "Atelier"}
    assert {uid: board["version"] for uid, board in standin.dashboards.items()} == {b.uid: 2 for b in BOARDS}
    assert all(standin.dashboards[board.uid]["title"] == board.title for board in BOARDS)


def test_token_is_read_from_a_file(grafana: tuple[GrafanaStandIn, str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert push(grafana[1], "", "--token-file", str(tmp_path / "token")).exit_code == 0


@pytest.mark.parametrize(
    ("url", "token", "message"),
    [
        (None, "wrong", "role Editor"),
        (None, "viewer", "role Editor"),
        (None, "", "GRAFANA_TOKEN"),
        ("ftp://127.0.0.1", TOKEN, "https://"),
        ("http://127.0.0.1:9", TOKEN, "no Grafana answers at http://127.0.0.1:9"),
    ],
)
def test_push_errors_are_reported(
    grafana: tuple[GrafanaStandIn, str], url: str | None, token: str, message: str
) -> None:
    result = push(url or grafana[1], token)
    assert result.exit_code == 2
    assert message in result.stderr
    assert TOKEN not in result.stderr
    assert not grafana[0].dashboards


def test_server_error_of_grafana_is_reported_as_such(grafana: tuple[GrafanaStandIn, str]) -> None:
    grafana[0].fails = True
    result = push(grafana[1])
    assert result.exit_code == 2
    assert "failed with 500" in result.stderr


def test_server_that_is_not_grafana_is_detected() -> None:
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    other = FastAPI()
    other.get("/api/folders", response_class=HTMLResponse)(lambda: "<html>hello</html>")
    with listening(other) as address:
        result = push(f"http://{address}")
    assert result.exit_code == 2
    assert "no Grafana answers" in result.stderr
