"""The HTTP and gRPC API: `app` assembles it from `middleware` and a folder per vocabulary. May import jobs, releases,
security, state and ensembles; knows no Ray. Begin with `app`.
"""
