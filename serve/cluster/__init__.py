"""Everything that knows Ray: replicas, the hop between them, routing, autoscaling, scale to zero, nodes, HAProxy,
redeployment, and the clients of the command line. May import the API and what lies below it, but not the vector and
diffusion arithmetic. Begin with `replicas`, then `hop.remote`.
"""
