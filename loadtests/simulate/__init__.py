"""Serving on paper: replicas with one GPU each, by discrete events, on a measured curve of what a batch costs."""
