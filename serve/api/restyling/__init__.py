"""`/api/style-transfer` (C-010 to C-012): pictures painted in the style of others. Begin with `routes`."""
