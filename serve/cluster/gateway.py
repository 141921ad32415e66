"""`GatewayServicer`: what a gateway's replica is made of. Importing it takes two seconds: only gateways do."""

from __future__ import annotations

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
    _authentication: Authentication
    _direct: DirectService
    _state: State

    @classmethod
    async def open(
        cls, vectorizer: DeploymentHandle[Any], illustrator: DeploymentHandle[Any] | None, settings: Settings
    ) -> GatewayServicer:
        service = WatchedVectorizer(remote_vectorizer(vectorizer, settings), settings.fallback.breaker)
        state = await State.open_with_retry(settings)
        remote = remote_illustrator(illustrator, settings) if illustrator else None
        draws = with_fallback(remote, state) if remote is not None else None
        direct = DirectService(state, draws, service, settings)
        await direct.start()
        entrance = await Authentication.opened(state)
        authentication.set_process_authentication(entrance)
        models = Models(service, settings, draws, direct.version_selector, state.database, state)
        servicer = cls(models, settings, entrance, count_ongoing)
        servicer._state, servicer._direct, servicer._authentication = state, direct, entrance
        servicer._app = partial(
            create_app, service, settings, models, illustrator=draws, state=state, direct=direct, entrance=entrance
        )
        set_process_hot_route(HotInference(models, settings, answer, count_ongoing))
        set_direct_handler(MODEL_INFER, servicer.infer_directly)
        return servicer

    def build_app(self) -> FastAPI:
        app = self._app()
        freeze_gc()
        return app

    async def close(self) -> None:
        set_process_hot_route(None)
        set_direct_handler(MODEL_INFER, None)
        authentication.set_process_authentication(None)
        await self._authentication.close()
        await self._direct.close()
        await self._state.close()
