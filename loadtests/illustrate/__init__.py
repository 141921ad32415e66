"""The parts of ``python -m loadtests.bench_illustrate``."""
