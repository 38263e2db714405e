"""Fitting a task: callbacks, checkpoints, seeds."""
