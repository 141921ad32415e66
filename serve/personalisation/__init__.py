"""What each user likes: feedback as rewards, bandits over models, styles, samplers and palettes, recommendations,
insights. May import ensembles, state, observability, settings and errors. Begin with `taste`, then `bandits`."""
