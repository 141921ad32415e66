"""Limits: rate limits by address and user, quotas per user, admission queues. Begin with `limiter`, which
`serve.api.middleware.authentication` calls for every request."""
