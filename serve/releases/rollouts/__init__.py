"""Versions of engines: which are served, to which users, and how a version is replaced (D-083, D-091). Begin with
`changes` (operators' commands) and `version_reconciler` (replicas).
"""
