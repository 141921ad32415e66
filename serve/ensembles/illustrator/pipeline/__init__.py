"""From a prompt to the pixels of one picture, with the engines of one family. May import the Illustrator's values, not
what composes them (`drawing`, `illustrator`). Begin with `pipeline`.
"""
