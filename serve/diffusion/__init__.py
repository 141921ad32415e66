"""Samplers, guidance and prompts of diffusion models: pure functions on arrays, no engine is called from here."""
