"""What the family is trained on: icon sets, concepts, captions, word vectors, pictures with alpha.

Imports build_engines.data and serve.vector, and no torch. Begin reading with ``sets`` and ``pictures``.
"""
