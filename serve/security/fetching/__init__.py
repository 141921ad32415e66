"""Pictures from addresses that users name: egress policy, DNS pinning, `data:` URLs. Begin with `fetcher`."""
