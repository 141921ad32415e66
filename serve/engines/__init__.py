"""Everything that talks to Triton. May import observability, settings and errors.

`client` is the only inference client, `engine_set` the engines of one ensemble, `triton/` the server process, its
supervision and the model repository, `backends/` the code that runs inside Triton. Begin with `engine_set`.
"""
