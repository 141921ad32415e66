"""From a Stable Diffusion checkpoint in diffusers' layout to the engines of one illustration family.

``python -m build_engines illustrate``. Begin with ``design`` (what will be built, or why not) and ``build`` (each part
exported, compared, timed). ``tensorrt`` builds plans on a GPU. Imports ``export`` and ``serve.diffusion``.
"""
