"""The command `atelier`: one module per command, `main` with those that start and stop a stack. May import every other
room; nothing imports it. Begin with `main`.
"""
