"""Who draws when the Illustrator cannot: breakers, and the steps that stand in for it (A-100)."""
