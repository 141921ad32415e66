"""Stored results: gallery, files and their renditions, subject references, ZIP downloads. Begin with `results`."""

"""Stored results: gallery, files and their renditions, subject references, ZIP downloads. Begin with `results`."""
