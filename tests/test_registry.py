"""Registries: children of mmengine's, filled by importing the module that they name."""

import subprocess
import sys

import pytest
from mmengine import registry as root
from mmengine.registry import Registry

from mmaction import registry

OURS = [name for name in registry.__all__ if name != 'TOKENIZER']


@pytest.mark.parametrize('name', OURS)
def test_a_registry_is_the_child_of_mmengines(name):
    ours = getattr(registry, name)
    parent = ours.parent
    assert isinstance(parent, Registry)
    assert ours.scope == 'mmaction'
    assert parent.children['mmaction'] is ours
    assert parent in vars(root).values()


def test_a_class_of_the_users_takes_the_place_of_ours_by_force(tmp_path, monkeypatch):
    """Even where it is defined before anything has imported ours."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, 'members', None)
    del sys.modules['members']
    members = registry._Registry('member', locations=['members'], scope='mmaction')
    monkeypatch.setattr(registry, 'MEMBERS', members, raising=False)
    (tmp_path / 'members.py').write_text(
        'from mmaction.registry import MEMBERS\n'
        'own = type("Own", (), dict(__module__="mmaction.members"))\n'
        'MEMBERS.register_module(module=own)\n'
    )

    class Own:
        pass

    with pytest.raises(KeyError, match=r'Own is already registered .* at mmaction\.members; give'):
        members.register_module(module=Own)
    members.register_module(module=Own, force=True)
    assert members.get('Own') is Own


def test_a_type_is_found_without_importing_its_module():
    code = (
        'import sys, tests.quick_start; from mmaction.registry import METRICS\n'
        'assert "mmaction.evaluation" not in sys.modules\n'
        'print(METRICS.get("AccMetric").__module__)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == 'mmaction.evaluation.metrics.acc_metric\n', done.stderr
