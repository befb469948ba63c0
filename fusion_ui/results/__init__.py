"""What was computed, as tidy tables."""
