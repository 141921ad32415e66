"""Image to SVG as pure functions on arrays: decoding, features, parameters, tracing, comparison. May import errors
alone. Begin with `trace`, then `coverage.tracer`; `image` reads untrusted files, `compare` measures results.
"""
