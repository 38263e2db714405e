"""Evaluate: predictions as a table, then scores from that table alone."""
