"""Tune: a search over the parameters of an experiment."""
