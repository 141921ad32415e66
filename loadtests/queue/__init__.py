"""What the queue, the gallery and the cache cost on SQLite and on PostgreSQL; a module for each measurement.

Begin with ``callers`` (open and closed loop) and ``endpoints``. Run by ``python -m loadtests.benchmarks.queue``.
Imports ``serve.jobs`` and ``serve.state``.
"""
