"""Site secrets, signed URLs, encryption at rest, content credentials. Begin with `site_secret`."""
