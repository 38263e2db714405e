"""Reproducible pipelines for computer vision and phone sensors, from raw files to compared models."""
