"""Calls of an ensemble from another process, through Ray Serve. May import what `serve.cluster` may. Begin with
`remote`, the proxies; `hop_errors` maps Ray's errors, `local_engines` calls a Triton on this machine without Ray Serve.
"""
