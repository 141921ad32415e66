"""What authentication, limits and moderation cost a request, and whether rate limits hold over several processes.

Begin with ``requests`` and ``rates``. Run by ``python -m loadtests.benchmarks.security``. Imports ``serve.security``.
"""
