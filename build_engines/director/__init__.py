"""Language models of GGUF files as engines of the art director."""
