"""Load tests with locust: scenarios, users, limits and the verdict on a run.

``python -m loadtests.load SCENARIO`` (``make load``). Begin with ``scenarios.yaml`` and ``scenario``; ``run`` starts
locust in a process of its own, ``limits`` judges what it measured. Imports ``serve`` for settings and clients only.
"""
