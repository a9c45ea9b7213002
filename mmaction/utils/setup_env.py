"""Registering every part of the package by one call."""

from importlib import import_module

from mmengine import registry

__all__ = ['register_all_modules']

_PACKAGES = ('apis', 'datasets', 'engine', 'evaluation', 'models', 'structures', 'visualization')


def register_all_modules(init_default_scope: bool = True) -> None:
    """Import every subpackage, so that all classes are in the registries.

    Args:
        init_default_scope: Also make `mmaction` the scope in which a bare
            `type='...'` is looked up. The runner does that by itself from
            `default_scope`; scripts and notebooks call this function.
    """
    for package in _PACKAGES:
        import_module(f'mmaction.{package}')
    if init_default_scope:
        registry.init_default_scope('mmaction')
