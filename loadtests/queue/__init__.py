"""What the queue, the gallery and the cache cost: one file a measurement, on SQLite and on PostgreSQL."""
