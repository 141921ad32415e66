"""Measurements of a running stack and of its parts. They print the tables of the documents and are no tests.

Begin with ``benchmarks/``: each module there is a command, ``python -m loadtests.benchmarks.NAME``, whose parts live in
the folder of the same subject. ``load/`` (locust users), ``chaos/`` (faults under load) and ``simulate/`` (a model of a
large site) are commands of their own. May import ``serve`` and ``build_engines``; nothing in ``serve`` imports this
package.
"""
