"""Feature flags, experiments, versions of engines, and fallback when the Illustrator fails. May import security, state,
ensembles and what lies below them. Begin with `rollouts.changes`, `fallback.illustrator` or `experiments.assignment`.
"""
