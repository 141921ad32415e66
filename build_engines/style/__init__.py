"""Style transfer: painting filters, the pictures that they make, a network trained on both, its engines and styles.

Begin with `command`. `engine` writes the two engines that `serve.ensembles.restyler` reads, `originals`
the pictures of the site's styles.
"""
