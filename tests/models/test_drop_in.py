"""The contributed parts import from the framework only what mmaction2 1.2 has as well."""

import ast
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / 'mmaction' / 'models'
PARTS = (
    'backbones/dualformer.py',
    'heads/i3d_head.py',
    'losses/soft_ce_tl.py',
    'recognizers/recognizer3d_tl.py',
)
# What mmaction2 1.2.0 offers under these names.
THERE = {
    'mmaction.registry': {'MODELS'},
    'mmaction.utils': {'ConfigType', 'OptConfigType', 'OptSampleList', 'SampleList'},
    'mmaction.models.heads.base': {'BaseHead'},
    'mmaction.models.losses.base': {'BaseWeightedLoss'},
    'mmaction.models.recognizers.recognizer3d': {'Recognizer3D'},
    'mmengine.config': {'Config'},
    'mmengine.logging': {'print_log'},
    'mmengine.model': {'BaseModule', 'initialize'},
    'mmengine.runner.checkpoint': {'CheckpointLoader'},
}


@pytest.mark.parametrize('part', PARTS)
def test_imports(part):
    folder = part.split('/')[0]
    taken = {}
    for node in ast.walk(ast.parse((MODELS / part).read_text())):
        names = [node.module or ''] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, 'a neighbor of the same folder'
            names = [f'mmaction.models.{folder}.{node.module}']
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith(('mmaction', 'mmengine')):
                taken.setdefault(name, set()).update(alias.name for alias in node.names)
    assert taken['mmaction.registry'] == {'MODELS'}
    for module, names in taken.items():
        assert names <= THERE.get(module, set()), f'{part}: {module}'
