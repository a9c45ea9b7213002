"""Several processes: starting them, and what they tell each other."""
