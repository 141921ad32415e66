"""What the routes of all vocabularies share: request bodies, single values, problem bodies, callers, URLs, event
streams. Knows no route. Begin with `problems` and `bodies`.
"""
