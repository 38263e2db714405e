"""Plotly figures and pages from saved predictions and scores."""
