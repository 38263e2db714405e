"""Report: figures and a page for each experiment."""
