"""Benchmarks that print the tables of the documents; each is a command: ``python -m loadtests.benchmarks.NAME``.

Modules here parse arguments and print; the measurements themselves are in the folders of ``loadtests`` beside this one,
all of which they may import. ``load`` and ``queue`` are good ones to begin with.
"""
