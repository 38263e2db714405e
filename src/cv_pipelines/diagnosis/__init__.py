"""Is there what the project needs? Each check says what it saw and what mends it."""
