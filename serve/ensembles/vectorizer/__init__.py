"""Image to SVG: analysis, tier choice, parameter search, tracing in worker processes. Begin with `vectorizer`, then
`conversion`. May import what `serve.ensembles` may.
"""
