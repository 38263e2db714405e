"""Kedro dataset classes and experiment tracking."""
