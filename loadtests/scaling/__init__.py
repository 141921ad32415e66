"""Replicas that follow the load, and simulated machines that join, leave and die.

Begin with ``users`` (a load in steps) and ``timeline``; ``machines`` simulates machines by network namespaces for
``loadtests.chaos.nodes``. Run by ``python -m loadtests.benchmarks.scaling``.
"""
