"""What a model gets wrong, in one form for every task, from saved predictions and the truth alone."""
