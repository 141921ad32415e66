"""Everything that knows Ray: replicas, the hop between them and its errors, routing, autoscaling, scale to zero, nodes,
HAProxy, redeployment. May import the API and what lies below it. Begin with `replicas`.
"""
