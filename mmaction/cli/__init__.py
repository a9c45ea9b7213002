"""The commands: `mmaction VERB`, and the scripts of tools/ that have the same ones."""
