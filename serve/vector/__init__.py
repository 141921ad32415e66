"""Image → SVG as pure functions on arrays: decode, features, parameters, tracing, comparison."""
