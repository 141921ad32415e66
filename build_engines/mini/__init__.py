"""The starter family "mini": a small latent diffusion model, trained here on two openly licensed sets of emoji."""
