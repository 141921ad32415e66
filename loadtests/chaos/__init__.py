"""Chaos tests: kill or freeze one part of a stack at a time under load, and count what its clients see.

``python -m loadtests.chaos``. Begin with ``faults``, the table of faults, and ``runner``, which injects them one after
the other; ``attempts_log`` has the verdicts. Imports ``loadtests.load`` for the stack and ``serve`` for clients.
"""
