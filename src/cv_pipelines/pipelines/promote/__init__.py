"""Decides whether a trained model is put to use."""
