"""Train: one node from tables to checkpoints."""
