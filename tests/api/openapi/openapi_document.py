"""The OpenAPI document of a site with keys. It takes a second to make, and each process that collects the tests needs
its operations: so once."""

from __future__ import annotations

from illustrator_standin import IllustratorStandIn
from standin import StandIn

from serve.api.app import create_app
from serve.settings import AccessSettings, Settings

SETTINGS = Settings(access=AccessSettings(required="on"))
DOCUMENT = create_app(StandIn(), SETTINGS, illustrator=IllustratorStandIn()).openapi()
