"""Routes for administrators: users and keys, audit, costs, quality, releases and engine versions. Begin with
`accounts`.
"""
