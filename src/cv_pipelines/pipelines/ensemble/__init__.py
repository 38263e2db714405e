"""Ensemble: the models of several experiments predict together, scored as each alone."""
