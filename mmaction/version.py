"""The version, read by the build and by users.

It goes on from mmaction2 1.2, whose recognition API this package has.
"""

__all__ = ['__version__']

__version__ = '1.3.0'
version_info = tuple(int(number) for number in __version__.split('.'))
