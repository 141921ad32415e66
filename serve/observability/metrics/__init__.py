"""Metrics of a process: `metric` has the types, `catalogue` every metric; `serve.cluster.ray_process` exports them."""
