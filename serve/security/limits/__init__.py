"""How much a client may ask for: requests in a time, by address and by user, and what one user may have.

`Limiter` is the way in; `serve.api.middleware.authentication` asks it for every request.
"""
