"""The project's own vocabulary: image to SVG, prompt to illustration, presets, health. Begin with `conversion`."""
