"""`/api/captions`: what pictures show, in words (B-023 to B-025)."""
