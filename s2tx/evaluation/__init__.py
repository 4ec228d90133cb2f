"""Honest scores: every window, the same for every model."""
