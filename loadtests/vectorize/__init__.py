"""The vectorising benchmark: pictures of known vector sources, tracers, measures, tables."""
