"""Imported first by the tests and by processes that they start."""

from mmaction.utils.cli import quick_imports

quick_imports()
