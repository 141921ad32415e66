"""Builds engines: everything that trains, converts or exports a model, offline. Nothing in ``serve`` imports it.

The only package that imports torch, diffusers and transformers. It may import pure functions of ``serve`` (``vector``,
``diffusion``), so that a model is trained on the features that it is served with. Begin with ``cli``, the commands of
``python -m build_engines``; then ``train/`` (the Vectorizer's engines), ``illustrate/`` (Stable Diffusion checkpoints)
or ``mini/`` (the starter family). ``export/`` writes the folders of ``model_repository``.
"""
