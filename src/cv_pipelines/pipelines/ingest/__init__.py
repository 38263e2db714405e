"""Ingest: raw files become the project's tables."""
