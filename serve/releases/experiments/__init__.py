"""A/B tests between models or options: who has which arm, and how the arms fare (A-102, D-083)."""
