"""Requests that are answered at once: result cache, single flight across processes, history, idempotency. Begin with
`service`.
"""
