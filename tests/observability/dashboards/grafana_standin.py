"""The part of Grafana's HTTP API that stores dashboards, with its own errors."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

TOKEN = "glsa_editor"


class GrafanaStandIn(FastAPI):
    def __init__(self) -> None:
        super().__init__()
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.fails = False
        self.middleware("http")(self._enter)
        self.get("/api/folders")(self._folders)
        self.post("/api/folders")(self._create_folder)
        self.post("/api/dashboards/db")(self._put)

    async def _enter(self, request: Request, answer: Any) -> Any:
        if self.fails:
            return JSONResponse({"message": "database is locked"}, 500)
        said = request.headers.get("authorization")
        if said == "Bearer viewer":
            return JSONResponse({"message": "You'll need additional permissions"}, 403)
        if said != f"Bearer {TOKEN}":
            return JSONResponse({"message": "Invalid API key"}, 401)
        return await answer(request)

    async def _folders(self) -> list[dict[str, str]]:
        return [{"uid": uid, "title": title} for uid, title in self.folders.items()]

    async def _create_folder(self, request: Request) -> Any:
        body = await request.json()
        if body["uid"] in self.folders:
            return JSONResponse({"message": "a folder with the same name already exists"}, 409)
        self.folders[body["uid"]] = body["title"]
        return body

    async def _put(self, request: Request) -> Any:
        body = await request.json()
        board = body["dashboard"]
        if body["folderUid"] not in self.folders:
            return JSONResponse({"message": "folder not found"}, 404)
        if board["uid"] in self.dashboards and not body["overwrite"]:
            return JSONResponse({"message": "the dashboard has been changed by someone else"}, 412)
        version = self.dashboards.get(board["uid"], {}).get("version", 0) + 1
        self.dashboards[board["uid"]] = {**board, "version": version}
        return {"uid": board["uid"], "version": version, "url": f"/d/{board['uid']}", "status": "success"}
