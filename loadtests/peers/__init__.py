"""Other software that serves the same models, to compare with: LitServe, plain FastAPI, Triton alone.

Begin with ``closed_loop``, which sends the same requests to each of them in turn. Run by
``python -m loadtests.benchmarks.peers``; the servers are processes of their own.
"""
