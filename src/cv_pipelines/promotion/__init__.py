"""Which model is in use: a gate between trained experiments and the registry."""
