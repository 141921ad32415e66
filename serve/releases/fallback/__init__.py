"""Fallback when the Illustrator fails: circuit breakers, and the backends tried next (A-100). Begin with
`illustrator`."""
