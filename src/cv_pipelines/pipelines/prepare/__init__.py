"""Prepare: splits, the leakage guard, statistics of the train split, the data report."""
