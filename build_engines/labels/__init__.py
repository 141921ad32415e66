"""Labels for training: what the tracers made of sampled pictures under sampled parameters.

Begin with ``collect``, which traces in several processes and resumes. Imports ``data`` and ``serve.vector``, and no
torch.
"""
