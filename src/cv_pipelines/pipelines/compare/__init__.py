"""Compare: the curves of a group of experiments on one page."""
