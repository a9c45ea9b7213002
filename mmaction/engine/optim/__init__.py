"""Optimiser wrappers and how parameters are grouped."""

from .precision import AmpOptimWrapper, ApexOptimWrapper, OptimWrapper

__all__ = ['AmpOptimWrapper', 'ApexOptimWrapper', 'OptimWrapper']
