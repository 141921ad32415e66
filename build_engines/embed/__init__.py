"""CLIP-class checkpoints as the pair of engines of search by likeness and of ranking."""
