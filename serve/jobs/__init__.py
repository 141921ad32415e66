"""The durable queue and the history of requests that are answered directly. May import releases, security, state,
ensembles; knows no HTTP. Begin with `queue.generation_queue` and `worker.worker`.
"""
