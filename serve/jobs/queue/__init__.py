"""Jobs in the database: insertion, fair order, positions, events, views, expiry. Begin with `generation_queue`."""
