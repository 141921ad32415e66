"""The parts of ``python -m loadtests.benchmarks.illustrate``."""
