"""Upscaling engines: trained on icons (`training`), or made of a super-resolution ONNX of another origin (`imported`).

Begin with `command`; `engine` writes the folder that `serve.ensembles.illustrator.finishing` reads.
"""
