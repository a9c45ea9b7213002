"""Several processes: starting them, and what they tell each other."""

__all__: list[str] = []
