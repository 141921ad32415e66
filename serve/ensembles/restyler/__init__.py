"""Style transfer: pictures painted anew in the style of other pictures, and SVGs in a style's colours."""
