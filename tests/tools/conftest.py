"""Fixtures of the tests of tools: files whose names shells and parsers trip over."""

import pytest

ODD_NAMES = (
    '-clip.mp4',
    'it\'s "a" (b) & ;#1 $x.mp4',
    'two  blanks 2.mp4',
    'no utf-8 \udcff %d.mp4',
    'C: x.mp4',
)


@pytest.fixture
def odd_names():
    """Names of videos that have to work everywhere."""
    return ODD_NAMES
