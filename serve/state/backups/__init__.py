"""Backups: all data of a site as one file, for either database (C-131).

A backup is a tar archive:

    tables/NAME.jsonl   a row a line, in the order in which they can be restored
    objects/NAME        the objects that those rows refer to
    manifest.json       the expected content, with checksums

All rows are of one snapshot. Objects are immutable, so they are read after it. The manifest comes last: a file without
it is no backup. Runtime state is excluded (workers, requests in flight, paused lanes, times of maintenance). Begin with
`writing` and `reading`; restoring is `serve.jobs.backup_restore`.
"""
