"""What this machine has to have before a stack can start, and the stack's own process. `doctor` is the command;
`software` and `checks` are the checks; `preparation` is what `up`, `vectorize` and `illustrate` do first; `foreground`
runs the stack. May import what `serve.cli` may. Begin with `doctor`.
"""
