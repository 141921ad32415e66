"""Trains the family of transparent pictures: autoencoder, text encoder, denoiser.

Imports ``corpus`` and the parts of ``build_engines.mini`` that do not depend on the picture's format. Begin reading
with ``pipeline``.
"""
