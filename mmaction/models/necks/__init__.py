"""Modules between backbone and head."""

from .tpn import TPN

__all__ = ['TPN']
