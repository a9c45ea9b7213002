"""Every public module says in `__all__` what others may take from it."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import mmaction

MODULES = [
    info.name
    for info in pkgutil.walk_packages(mmaction.__path__, 'mmaction.')
    if not info.name.rpartition('.')[2].startswith('_')
]
# They need extras, or a GPU's compiler.
OPTIONAL = ('starlette', 'uvicorn', 'multipart', 'python_multipart', 'triton', 'torchcodec')


@pytest.mark.parametrize('name', ['mmaction', *MODULES])
def test_module_lists_its_public_names(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in OPTIONAL:
            pytest.skip(f'needs {error.name}')
        raise
    public = module.__all__
    assert len(set(public)) == len(public)
    assert not [one for one in public if not hasattr(module, one)]
    # What is defined here and could be imported by name is listed, or has an underscore.
    own = {
        key
        for key, value in vars(module).items()
        if getattr(value, '__module__', None) == name
        and isinstance(value, type)
        and not key.startswith('_')
    }
    assert own <= set(public)
