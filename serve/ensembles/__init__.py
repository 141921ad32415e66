"""Plain classes that compose engines, a folder each, and the request values that they share. May import engines,
vector, diffusion, observability, settings and errors; knows no Ray, no database and no HTTP. Begin with
`vectorizer.vectorizer` and `illustrator.illustrator`.
"""
