"""The command `atelier`: one module per command; `main` has those that start and stop a stack, `machine/` the checks of
`atelier doctor`. May import every other room; nothing imports it. Begin with `main`.
"""
