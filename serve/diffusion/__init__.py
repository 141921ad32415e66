"""Samplers, guidance and prompts of diffusion models: pure functions on arrays that call no engine. May import errors
alone. Begin with `samplers`, then `family`.
"""
