"""What is done to a picture after it is drawn, or to an input picture alone: style transfer, faces, background,
enlarging. May import the Illustrator's values. Begin with `post_processing`; the options are in `finish`.
"""
