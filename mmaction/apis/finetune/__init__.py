"""From clips of one's own to a tested model: `mmaction finetune`."""

__all__: list[str] = []
