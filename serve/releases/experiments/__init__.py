"""A/B experiments between models or options: assignment, exposures, and the report of the arms (A-102, D-083)."""
