"""Other ways to serve the same models, to compare with: LitServe, plain FastAPI, Triton alone."""
