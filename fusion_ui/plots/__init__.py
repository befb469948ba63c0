"""Tidy tables become figures: one file a plot. Colours of text and grid follow the page's theme."""
