"""Prompt to picture: the sampler loop over a text encoder, a UNet and a VAE, each an engine. Begin with `illustrator`,
then `pipeline.pipeline`. May import what `serve.ensembles` may, and the vectorizer's value types.
"""
