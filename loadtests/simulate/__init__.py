"""A discrete-event simulation of sites with 1 to 1,000 GPUs, on a measured curve of what a batch costs.

``python -m loadtests.simulate``. Begin with ``simulation``, then ``replica`` (two ways to batch) and ``curve``. Imports
nothing of ``serve`` but in ``validate``, which compares the simulation with the real engines.
"""
