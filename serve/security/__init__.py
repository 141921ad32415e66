"""Identity, limits, moderation, fetching from user-named addresses, sanitising, signing. May import state, ensembles
and what lies below them; ensembles never import it. Begin with `identity.authentication` and `limits.limiter`."""
