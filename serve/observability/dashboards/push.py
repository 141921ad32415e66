"""Uploads dashboards to Grafana through its HTTP API."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import requests
from grafana_api.grafana_api import GrafanaClientError, GrafanaException
from grafana_api.grafana_face import GrafanaFace

from serve.errors import EngineUnavailable, Forbidden, InvalidRequest
from serve.observability.dashboards.board import Board

FOLDER = "atelier"
TIMEOUT_S = 10.0


class Grafana:
    """The Grafana at ``url``; ``token``: of a service account, or ``user:password``.

    Raises ``InvalidRequest`` (not Grafana's address), ``Forbidden`` (token rejected) or ``EngineUnavailable``
    (unreachable).
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest("the address of a Grafana is like https://grafana.example.org", "url")
        user, colon, password = token.partition(":")
        self._url = url.rstrip("/")
        self._face = GrafanaFace(
            auth=(user, password) if colon else token,
            host=parts.hostname,
            port=parts.port,
            protocol=parts.scheme,
            url_path_prefix=parts.path.lstrip("/").rstrip("/") + "/" if parts.path.strip("/") else "",
            timeout=TIMEOUT_S,
        )

    def push(self, boards: Iterable[Board]) -> list[str]:
        """Create or replace ``boards`` in the folder "Atelier"; returns their URLs."""
        try:
            self._make_folder()
            return [self._put(board) for board in boards]
        except requests.RequestException:
            raise EngineUnavailable(f"no Grafana answers at {self._url}") from None
        except GrafanaClientError as error:
            if error.status_code in (401, 403):
                raise Forbidden("Grafana does not let this token write dashboards; it needs the role Editor") from None
            raise InvalidRequest(f"Grafana refused: {error.message}", "url") from None
        except GrafanaException as error:
            raise EngineUnavailable(f"Grafana failed with {error.status_code}") from None

    def _make_folder(self) -> None:
        if all(folder["uid"] != FOLDER for folder in self._face.folder.get_all_folders()):
            self._face.folder.create_folder("Atelier", FOLDER)

    def _put(self, board: Board) -> str:
        body = {"dashboard": board.to_json(), "folderUid": FOLDER, "overwrite": True, "message": "atelier dashboards"}
        answer = self._face.dashboard.update_dashboard(body)
        return f"{self._url}{answer['url']}"
