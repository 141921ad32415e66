"""Delivery of job events to the URLs that users name. Begin with `delivery`."""
