"""What the routes of all vocabularies share: the base of request models, request bodies under caps, drawing fields,
problem bodies, callers, URLs, event streams. Knows no route. Begin with `models` and `bodies`.
"""
