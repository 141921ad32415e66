"""Everything that a site knows as one file, for either database (C-131).

A backup is a tar:

    tables/NAME.jsonl   a row a line, in the order in which they can be put back
    objects/NAME        the pictures and drawings that those rows name
    manifest.json       what has to be there, with checksums

All rows are of one moment. Objects never change, so they are read after it. The manifest comes last: without it nothing
is a backup. What dies with processes is left out (workers, what they had under way, pauses of lanes, times of chores).
"""
