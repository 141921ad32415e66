"""Triton as a child process: installation, start, supervision, log; the model repository and its versions.

Begin with `server`, then `supervisor` and `versions`.
"""
