"""Metrics, tracing, logs, dashboards, costs and the context of a request (deadline, priority). May import settings and
errors alone. Begin with `request_context`, then `metrics.catalogue` and `tracing`.
"""
