"""The commands: `mmaction VERB`, and the scripts of tools/ that have the same ones."""

__all__: list[str] = []
