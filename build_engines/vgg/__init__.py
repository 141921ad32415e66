"""Engines for style transfer by optimisation (Gatys et al., 2016) from VGG-class checkpoints."""
