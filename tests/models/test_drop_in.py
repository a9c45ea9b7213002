"""The contributed parts import from the framework only what mmaction2 1.2 has as well."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / 'mmaction' / 'models'
PARTS = (
    'backbones/dualformer.py',
    'backbones/dualformer_blocks.py',
    'backbones/dualformer_geometry.py',
    'backbones/dualformer_layout.py',
    'backbones/dualformer_weights.py',
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
    'mmaction.models.utils.depthwise_cpu': {'depthwise_conv3d'},
    'mmaction.models.utils.linear_cpu': {'linear'},
    'mmaction.models.utils.position_ops': {'add_position'},
    'mmengine.config': {'Config'},
    'mmengine.logging': {'print_log'},
    'mmengine.model': {'BaseModule', 'initialize'},
    'mmengine.runner.checkpoint': {'CheckpointLoader'},
}


RUN = """
import sys
sys.modules["transformers"] = None  # which mmengine would import for an optimizer: seconds
import torch
from mmaction.models.backbones import DualFormer, dualformer_blocks
assert dualformer_blocks.add_position is None
assert dualformer_blocks.attention is torch.nn.functional.scaled_dot_product_attention
assert not [name for name in sys.modules if name.startswith('mmaction.models.utils')]
sizes = dict(embed_dims=[8], num_heads=[2], depths=[2], mlp_ratios=[1], local_sizes=[[2, 2, 2]],
             fine_pysizes=[[2, 2, 2]], coarse_pysizes=[None])
model = DualFormer(arch=sizes, video_size=[8, 32, 32])
model(torch.randn(1, 3, 6, 20, 25)).square().mean().backward()
assert all(p.grad is not None for p in model.parameters())
torch.save(model.state_dict(), 'x.pth')
DualFormer(arch=sizes, video_size=[8, 32, 32], pretrained='x.pth').init_weights()
"""


def test_dualformer_runs_in_a_checkout_that_has_its_files_alone(tmp_path):
    """Without our operations for GPUs and whatever else mmaction2 does not have."""
    backbones = tmp_path / 'mmaction' / 'models' / 'backbones'
    backbones.mkdir(parents=True)
    for folder in (tmp_path / 'mmaction', backbones.parent):
        (folder / '__init__.py').write_text('')
    (tmp_path / 'mmaction' / 'registry.py').write_text(
        'from mmengine.registry import MODELS as parent, Registry\n'
        "MODELS = Registry('model', parent=parent, scope='mmaction')\n"
    )
    (backbones / '__init__.py').write_text('from .dualformer import DualFormer\n')
    for part in PARTS:
        if part.startswith('backbones/'):
            shutil.copy(MODELS / part, backbones)
    done = subprocess.run(
        [sys.executable, '-c', RUN],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(tmp_path)},
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
            if f'{folder}/{node.module}.py' in PARTS:
                continue
            names = [f'mmaction.models.{folder}.{node.module}']
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith(('mmaction', 'mmengine')):
                taken.setdefault(name, set()).update(alias.name for alias in node.names)
    assert taken.get('mmaction.registry', {'MODELS'}) == {'MODELS'}
    for module, names in taken.items():
        assert names <= THERE.get(module, set()), f'{part}: {module}'
