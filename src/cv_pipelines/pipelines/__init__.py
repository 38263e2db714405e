"""Kedro stages: nodes and wiring."""
