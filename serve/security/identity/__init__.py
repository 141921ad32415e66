"""Authentication and authorisation: API keys, users and their roles, ownership, the audit log (B-083). Begin with
`authentication` and `roles`."""
