"""Configs of mmaction2 0.x, read as what they mean in the form of 1.x."""

from .convert import OLD_KEYS, convert_old_config, is_old_config
from .runtime import drop_missing_backends

__all__ = ['OLD_KEYS', 'convert_old_config', 'drop_missing_backends', 'is_old_config']
