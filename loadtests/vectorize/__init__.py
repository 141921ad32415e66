"""The vectorizing benchmark: pictures with known vector sources, tracers, measures and tables.

Begin with ``dataset`` and ``methods``; ``measure`` runs methods over pictures, ``table`` prints. Run by ``python -m
loadtests.benchmarks.vectorize``. Imports ``serve.vector``, ``serve.ensembles.vectorizer`` and ``build_engines.data``.
"""
