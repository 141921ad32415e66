"""Who gets what: feature flags, experiments, versions of models, fallback when an ensemble fails. May import security,
state, ensembles and what lies below them.
"""
