"""What `kedro cv …` offers, by what it is about."""
