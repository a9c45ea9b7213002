"""The wheel: built, installed into an environment of its own, complete."""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.repository import ROOT, repository_files


def run(*command, **kwargs):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    """A fresh environment that holds the wheel, and sees this one's other packages."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    for name in repository_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    pip = (sys.executable, '-m', 'pip', '--disable-pip-version-check')
    options = ('--no-deps', '--no-build-isolation', '--quiet')
    run(*pip, 'wheel', *options, '--wheel-dir', folder, source)
    (wheel,) = folder.glob('dualformer-*.whl')
    venv.create(folder / 'env', symlinks=True)
    python = folder / 'env' / 'bin' / 'python'
    offline = ('--no-deps', '--no-index', '--no-compile', '--quiet')
    run(*pip, '--python', python, 'install', *offline, wheel)
    # Dependencies come from here; a folder named in a .pth file does not bring its own .pth
    # files, so the editable install of this checkout stays out.
    site = run(python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))').strip()
    Path(site, 'dependencies.pth').write_text(sysconfig.get_path('purelib') + '\n')
    return python, folder


IMPORTED = """
# as every command does: mmengine would import transformers where it is installed
from mmaction.utils.cli import quick_imports
quick_imports()
import importlib, json, pathlib, pkgutil, sys
import mmaction, mmaction.registry, mmaction.datasets, mmaction.engine
heavy = [name for name in ('torchvision', 'timm', 'decord', 'av') if name in sys.modules]
from mmaction.config.load import load_config
built_on = load_config('mine.py').model == load_config('pico_finetune').model
import mmaction.models
heavy += [name for name in ('timm', 'transformers') if name in sys.modules]
root = pathlib.Path(mmaction.__file__).parent
modules = [m.name for m in pkgutil.walk_packages([str(root)], 'mmaction.')
           if not m.name.startswith('mmaction.configs')]
for name in modules:
    importlib.import_module(name)
configs = sorted(str(p.relative_to(root / 'configs')) for p in (root / 'configs').rglob('*.py'))
from mmaction.utils.class_names import known_class_names
classes = len(known_class_names('k400'))
print(json.dumps(dict(root=str(root), heavy=heavy, built_on=built_on, modules=modules,
                      configs=configs, classes=classes)))
"""


@pytest.fixture(scope='module')
def imported(environment):
    """What a process of that environment finds, outside of a checkout."""
    python, folder = environment
    (folder / 'mine.py').write_text("_base_ = 'pico_finetune'\n")
    lines = run(python, '-I', '-c', IMPORTED, cwd=folder).strip().splitlines()
    return json.loads(lines[-1])


def test_wheel_imports_and_holds_every_package_and_config(environment, imported):
    _, folder = environment
    assert str(folder) in imported['root']
    assert imported['classes'] == 400
    files = [name for name in repository_files('*.py') if name.parts[0] in ('mmaction', 'configs')]
    packages = {'.'.join(p.parent.parts) for p in files if p.name == '__init__.py'}
    assert packages - {'mmaction'} <= set(imported['modules'])
    assert imported['configs'] == sorted(
        str(p.relative_to('configs')) for p in files if p.parts[0] == 'configs'
    )


def test_requirements_are_met(environment):
    python, _ = environment
    checked = run(sys.executable, '-m', 'pip', '--python', python, 'check')
    assert 'No broken requirements' in checked


def test_import_beside_mmaction2_is_refused(environment, tmp_path):
    python, _ = environment
    info = tmp_path / 'mmaction2-1.2.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmaction2\nVersion: 1.2.0\n')
    done = subprocess.run(
        [python, '-c', 'import mmaction'],
        env={'PYTHONPATH': str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert 'mmaction2 1.2.0 is installed in this environment' in done.stderr
    assert 'pip uninstall mmaction2' in done.stderr


def test_import_mmaction_is_light(imported):
    assert imported['heavy'] == []


def test_command_finds_the_configs_of_the_wheel(environment, imported, tmp_path):
    """Outside of a checkout: the script, a config by its name, and one that builds on it."""
    python, _ = environment
    command = python.with_name('mmaction')
    assert 'finetune' in run(command, '--help', cwd=tmp_path)
    names = run(command, 'info', '--configs', cwd=tmp_path).split()
    assert {'dualformer_tiny_patch244_window877_kinetics400_1k', 'pico_finetune'} <= set(names)
    assert imported['built_on']
