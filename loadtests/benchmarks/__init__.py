"""Benchmarks that print the tables of the documents; each is a command: `python -m loadtests.benchmarks.NAME`."""
