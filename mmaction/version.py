"""The version, read by the build and by users.

It goes on from mmaction2 1.2, whose recognition API this package has.
"""

__all__ = ['__version__', 'parse_version_info', 'version_info']

__version__ = '1.3.0'


def parse_version_info(version: str) -> tuple[int | str, ...]:
    """'1.3.0rc1' -> (1, 3, 0, 'rc1'), which compares part by part."""
    parts: list[int | str] = []
    for part in version.split('.'):
        number, mark, candidate = part.partition('rc')
        parts.append(int(number))
        parts += [f'rc{candidate}'] if mark else []
    return tuple(parts)


version_info = parse_version_info(__version__)
