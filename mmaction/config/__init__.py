"""Configs: reading, checking and writing them, and what a command line adds."""

__all__: list[str] = []
