"""What this machine has to have before a stack can start: `doctor` is the command, `checks` what it goes through,
`preparation` what `up`, `vectorize` and `illustrate` do first. May import what `serve.cli` may. Begin with `doctor`.
"""
