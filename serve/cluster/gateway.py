"""`GatewayServicer`: what a gateway's replica is made of. Importing it takes two seconds: only gateways do."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from serve.api.app import answer, create_app
from serve.api.inference.grpc import OpenInferenceServicer
from serve.api.inference.grpc_service import MODEL_INFER, set_direct_handler
from serve.api.inference.hot_route import HotInference
from serve.api.inference.models import Models
from serve.api.middleware import authentication
from serve.api.middleware.admission import set_process_hot_route
from serve.api.middleware.authentication import Authentication
from serve.api.middleware.hot_routes import HotRoutes
from serve.api.native.conversion import HotConversions
from serve.cluster.hop.handles import remote_illustrator, remote_vectorizer
from serve.cluster.ray_process import count_ongoing, freeze_gc
from serve.jobs.direct.service import DirectService
from serve.releases.fallback.illustrator import with_fallback
from serve.releases.fallback.wrappers import WatchedVectorizer
from serve.settings import Settings
from serve.state import State


class GatewayServicer(OpenInferenceServicer):
    """The gRPC service, with the HTTP application beside it."""

    _app: partial[FastAPI]
    _closing: AsyncExitStack
    _hot_routes: HotRoutes

    @classmethod
    async def open(
        cls, vectorizer: DeploymentHandle[Any], illustrator: DeploymentHandle[Any] | None, settings: Settings
    ) -> GatewayServicer:
        """What was opened is closed if a later step raises."""
        service = WatchedVectorizer(remote_vectorizer(vectorizer, settings), settings.fallback.breaker)
        async with AsyncExitStack() as undoing:
            state = await State.open_with_retry(settings)
            undoing.push_async_callback(state.close)
            remote = remote_illustrator(illustrator, settings) if illustrator else None
            draws = with_fallback(remote, state) if remote is not None else None
            direct = DirectService(state, draws, service, settings)
            undoing.push_async_callback(direct.close)
            await direct.start()
            entrance = await Authentication.opened(state)
            undoing.push_async_callback(entrance.close)
            undoing.callback(authentication.set_process_authentication, None)
            authentication.set_process_authentication(entrance)
            models = Models(service, settings, draws, direct.version_selector, state.database, state)
            servicer = cls(models, settings, entrance, count_ongoing)
            servicer._app = partial(
                create_app, service, settings, models, illustrator=draws, state=state, direct=direct, entrance=entrance
            )
            undoing.callback(set_direct_handler, MODEL_INFER, None)
            undoing.callback(set_process_hot_route, None)
            servicer._hot_routes = HotRoutes([HotInference(models, settings)], settings, answer, count_ongoing)
            set_process_hot_route(servicer._hot_routes)
            set_direct_handler(MODEL_INFER, servicer.infer_directly)
            servicer._closing = undoing.pop_all()
        return servicer

    def build_app(self) -> FastAPI:
        app = self._app()
        self._hot_routes.add(HotConversions(app))
        freeze_gc()
        return app

    async def close(self) -> None:
        await self._closing.aclose()
