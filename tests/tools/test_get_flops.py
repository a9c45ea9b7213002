"""The figures of the model table, recomputed."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmaction.config.load import load_config
from tools.misc import model_table

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs' / 'recognition' / 'dualformer'
MODELS = model_table.read_models()
PUBLISHED = {
    'dualformer_tiny_patch244_window877_kinetics400_1k': (21.767, 60.09),
    'dualformer_small_patch244_window877_kinetics400_1k': (48.908, 158.69),
    'dualformer_base_patch244_window877_kinetics400_1k': (86.838, 267.96),
}


def get_flops(*arguments):
    command = [sys.executable, ROOT / 'tools' / 'analysis_tools' / 'get_flops.py', *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    params, flops = re.search(r'([\d.]+) M\nFLOPs +([\d.]+) G', done.stdout).groups()
    return float(params), float(flops)


@functools.cache
def backbone_of(name):
    """What a model's figures depend on, as text."""
    backbone = load_config(CONFIGS / f'{name}.py').model.backbone
    return str(sorted((k, v) for k, v in backbone.items() if k != 'drop_path_rate'))


@functools.cache
def figures_of(backbone):
    """Counted once for all models of this backbone."""
    name = next(m['Name'] for m in MODELS if backbone_of(m['Name']) == backbone)
    return get_flops(CONFIGS / f'{name}.py')


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_metafile_figures_are_current(model):
    params, flops = figures_of(backbone_of(model['Name']))
    assert params == pytest.approx(model['Parameters'], abs=5e-4)
    assert flops == pytest.approx(model['FLOPs'], abs=5e-3)
    if model['Name'] in PUBLISHED:
        assert params == pytest.approx(PUBLISHED[model['Name']][0], abs=5e-4)
        assert flops == pytest.approx(PUBLISHED[model['Name']][1], rel=0.01)
    cfg = load_config(CONFIGS / f'{model["Name"]}.py', [])
    (sampling,) = [s for s in cfg.test_pipeline if s['type'] == 'SampleFrames']
    crops = 3 if any(step['type'] == 'ThreeCrop' for step in cfg.test_pipeline) else 1
    assert model['Views'] == sampling['num_clips'] * crops


def test_readme_table_matches_metafile():
    model_table.main(['--check'])
    checkpoints = (ROOT / 'checkpoints' / 'README.md').read_text()
    for model in MODELS:
        assert model.get('Weights', '') in checkpoints


def test_a_wrong_metafile_is_named(tmp_path):
    path = tmp_path / 'metafile.yml'
    for change, message in (
        (dict(Top1=1), r"unknown \['Top1'\], missing \[\]"),
        (dict(Name='no_such_config'), 'there is no config no_such_config'),
        (dict(Measured=[0.5]), 'Measured and Command go together'),
    ):
        path.write_text(yaml.safe_dump(dict(Models=[{**MODELS[0], **change}])))
        with pytest.raises(ValueError, match=message):
            model_table.read_models(path)


def test_other_shapes_cost_in_proportion():
    config = CONFIGS / 'dualformer_tiny_patch244_window877_kinetics400_1k.py'
    _, whole = get_flops(config)
    _, half = get_flops(config, '--shape', '16', '224', '224')
    assert 0.4 < half / whole < 0.5  # full attention in the last stage grows faster than tokens
