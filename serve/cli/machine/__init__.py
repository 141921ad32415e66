"""What this machine has to have before a stack can start. `doctor` is the command; `software` and `checks`
are the checks; `preparation` is what `up`, `vectorize` and `illustrate` do first. May import what
`serve.cli` may. Begin with `doctor`.
"""
