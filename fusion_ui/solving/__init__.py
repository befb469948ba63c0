"""Exact, scaled solutions of the normal equations that RegMean leads to."""
