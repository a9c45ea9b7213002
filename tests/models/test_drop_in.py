"""The contributed parts import from the framework only what mmaction2 1.2 has as well."""

import ast
import subprocess
import sys
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
    # Ours, not there: optional, so within `try` and `except ImportError`.
    'mmaction.models.utils.attention_ops': {'attention'},
    'mmaction.models.utils.position_ops': {'add_position'},
    'mmengine.config': {'Config'},
    'mmengine.logging': {'print_log'},
    'mmengine.model': {'BaseModule', 'initialize'},
    'mmengine.runner.checkpoint': {'CheckpointLoader'},
}


ALONE = """
import importlib.util, sys
for name in ('attention_ops', 'position_ops'):
    sys.modules[f'mmaction.models.utils.{name}'] = None  # as if it were not there
spec = importlib.util.spec_from_file_location('dualformer_alone', sys.argv[1])
alone = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = alone
import torch
from mmaction.registry import MODELS
MODELS.register_module = lambda: (lambda cls: cls)  # the checkout's own one has the name
spec.loader.exec_module(alone)
assert alone.add_position is None
assert alone.attention is torch.nn.functional.scaled_dot_product_attention
sizes = dict(embed_dims=[8], num_heads=[2], depths=[2], mlp_ratios=[1], local_sizes=[[2, 2, 2]],
             fine_pysizes=[[2, 2, 2]], coarse_pysizes=[None])
model = alone.DualFormer(arch=sizes, video_size=[8, 32, 32])
model(torch.randn(1, 3, 6, 20, 25)).square().mean().backward()
assert all(p.grad is not None for p in model.parameters())
"""


def test_dualformer_runs_without_our_gpu_operations():
    done = subprocess.run(
        [sys.executable, '-c', ALONE, str(MODELS / 'backbones/dualformer.py')],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


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
