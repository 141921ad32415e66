"""Who may do what: API keys, users and their roles, credentials as clients send them, the audit log (B-083)."""
