"""What a run would do: which results are out of date and why, what they take; nothing is changed."""
