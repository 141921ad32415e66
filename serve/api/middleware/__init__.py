"""ASGI middleware, one module a layer: client address, origin check, authentication, deadlines, admission, metrics,
traces, response headers. `serve.api.app` has their order.
"""
