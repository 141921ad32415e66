"""Plain classes that compose engines, one folder each, and the request values that they share. May import engines,
vector, diffusion, observability, settings and errors; no Ray, database or HTTP. A new capability is one more folder
here. Begin with `vectorizer.vectorizer` and `illustrator.illustrator`.
"""
