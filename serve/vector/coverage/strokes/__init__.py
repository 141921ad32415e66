"""Strokes of constant width, found in the areas that they cover: medial axis, centre lines, caps and joins."""
