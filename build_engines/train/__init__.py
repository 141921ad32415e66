"""Training of the Vectorizer's engines: networks, data sets, losses and metrics.

Begin with ``pipeline``, stage by stage; ``networks`` has the five networks, ``joint``, ``rounds``, ``tier1`` and
``policy`` how they learn. Imports ``data``, ``labels`` and ``export``.
"""
