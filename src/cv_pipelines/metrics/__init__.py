"""Scores as pure functions on arrays and tables."""
