"""Captions of pictures: by captioning engines, by the image-text embedding's nearest words, and by both together."""
