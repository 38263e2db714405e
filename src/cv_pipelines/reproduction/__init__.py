"""Running again what was run: what is kept of a run, its code in a folder of its own, the comparison."""
