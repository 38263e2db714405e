"""Retraining on a schedule: what is stale is made again, better models are put to use, and it is told."""
