"""Routes for what users keep: gallery, results, subject references. Begin with `gallery`."""
