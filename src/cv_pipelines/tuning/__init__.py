"""Searching for good parameters of an experiment: the only part that knows Optuna."""
