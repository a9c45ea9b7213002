"""Building blocks that networks share."""

__all__: list[str] = []
