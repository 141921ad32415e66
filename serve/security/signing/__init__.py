"""Site secrets, signed URLs, encryption at rest, content credentials. Begin with `secret_store`."""
