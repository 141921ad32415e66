"""The worker process: leases, execution, progress, recovery of orphaned jobs, periodic maintenance. Begin with
`worker`.
"""
