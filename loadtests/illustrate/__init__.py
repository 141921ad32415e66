"""The parts of ``python -m loadtests.benchmarks.illustrate``: one workload, drawn by the stack's engines and by its
peers.

Begin with ``workload``. Imports torch and diffusers, as ``peers`` does.
"""
