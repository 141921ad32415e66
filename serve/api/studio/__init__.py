"""The web application: its files, what its pages may offer, and sign-in by API key for browsers.

Imports the shared helpers in `serve.api.http` and the services below; no other vocabulary. Begin reading in `pages`.
"""

from fastapi import APIRouter

from serve.api.studio import offer, pages, session

router = APIRouter()
router.include_router(session.router)
router.include_router(offer.router)
router.include_router(pages.router)

__all__ = ["router"]
