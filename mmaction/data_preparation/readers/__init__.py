"""One module for each dataset whose official annotation can be read."""

__all__: list[str] = []
