"""What a prompt means: keywords, concepts, mood, sentiment, colours, and how to say it better. Rules on vocabularies in
``deployments/prompts``, without an engine. May import settings and errors. Begin with `analysis`, then `vocabulary`."""
