"""Replicas that come and go with the load, and machines that join, leave and die."""
