"""Beside the import-linter contract: no import by name, path or trick gets round the layers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mmaction import utils

ROOT = Path(__file__).parents[1]
FILES = [path for folder in ('mmaction', 'tools', 'demo') for path in (ROOT / folder).rglob('*.py')]
# Who may import modules of ours by a name that is worked out.
BY_NAME = {
    'mmaction/cli/main.py',  # the command of a verb
    'mmaction/cli/prepare_dataset.py',  # the reader of a dataset
    'mmaction/config/load.py',  # custom_imports
    'mmaction/datasets/transforms/loading.py',  # decoding libraries
    'mmaction/engine/optimizers/amp.py',  # apex
    'mmaction/mmaction2_names.py',  # modules that moved
    'mmaction/utils/__init__.py',
    'mmaction/utils/setup_env.py',
}


def dotted(node):
    """A name with its attributes, which `ast.unparse` is slow to give."""
    if isinstance(node, ast.Attribute):
        return f'{dotted(node.value)}.{node.attr}'
    return node.id if isinstance(node, ast.Name) else ''


def calls(path):
    """Names of what a file calls, and its imports."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func)
        elif isinstance(node, ast.Import):
            yield from (f'import {alias.name}' for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f'import {node.module}'


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope='module')
def called():
    return {name(path): set(calls(path)) for path in FILES}


def test_modules_are_imported_by_name_in_known_places_only(called):
    found = {
        path
        for path, names in called.items()
        if any(each.endswith(('import_module', '__import__')) for each in names)
    }
    assert found == BY_NAME


def test_nothing_changes_the_import_path_or_loads_our_files(called):
    for path, names in called.items():
        assert not any(each.startswith('sys.path') for each in names), path
        assert not any('spec_from_file_location' in each for each in names), path
        assert 'sys.path' not in (ROOT / path).read_text(encoding='utf-8'), path


def test_tools_and_package_do_not_import_tests(called):
    for path, names in called.items():
        assert not any(each.split('.')[0] == 'import tests' for each in names), path


def test_names_that_mmaction2_has_in_utils_come_from_the_packages_above():
    above = {
        public
        for public, module in utils._MODULES.items()
        if not module.startswith(('mmaction.utils', 'mmaction.structures'))
    }
    assert above == {'GradCAM', 'frame_extract'}
    for public in utils.__all__:
        assert getattr(utils, public) is not None


def test_an_upward_import_breaks_the_contract(tmp_path):
    linter = Path(sys.executable).with_name('lint-imports')
    if not linter.exists():
        pytest.skip('needs pip install -e ".[dev]"')
    (tmp_path / 'mmaction').mkdir()
    settings = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    layers = ('apis', 'engine', 'evaluation', 'visualization', 'data_preparation', 'datasets')
    layers += ('models', 'config', 'distributed', 'utils', 'errors', 'structures', 'registry')
    for layer in (*layers, 'version', 'mmaction2_names', 'testing', 'cli', '__main__', '__init__'):
        (tmp_path / 'mmaction' / f'{layer}.py').write_text('')
    (tmp_path / 'pyproject.toml').write_text(settings[settings.index('[tool.importlinter]') :])

    def kept():
        command = [str(linter), '--no-cache']
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode == 0, done.stdout

    assert kept()[0]
    for layer, source in (
        ('config', 'def f():\n    from mmaction import engine\n'),
        (
            'utils',
            'from typing import TYPE_CHECKING\n'
            'if TYPE_CHECKING:\n    from mmaction import models\n',
        ),
    ):
        (tmp_path / 'mmaction' / f'{layer}.py').write_text(source)
    found, report = kept()
    assert not found
    for pair in ('mmaction.config is not allowed to import mmaction.engine',
                 'mmaction.utils is not allowed to import mmaction.models'):  # fmt: skip
        assert pair in report
