"""The figures of the model table, recomputed."""

import copy
import functools
import re
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmaction.config.load import load_config
from mmaction.models.backbones import DualFormer
from mmaction.registry import MODELS
from tests.models.backbones.small_dualformer import SMALL
from tools.analysis_tools.get_flops import clip_shape, count, main
from tools.misc import model_table

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs' / 'recognition' / 'dualformer'
MODELS_OF_README = model_table.read_models()
PUBLISHED = {
    'dualformer_tiny_patch244_window877_kinetics400_1k': (21.767, 60.09),
    'dualformer_small_patch244_window877_kinetics400_1k': (48.908, 158.69),
    'dualformer_base_patch244_window877_kinetics400_1k': (86.838, 267.96),
}


def test_no_warning_of_fvcore_itself(monkeypatch):
    for name in [name for name in sys.modules if name.partition('.')[0] == 'fvcore']:
        monkeypatch.delitem(sys.modules, name)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter('always')
        count(nn.Identity(), (2, 4, 4))
    assert not [str(one.message) for one in given if 'torch.jit.script' in str(one.message)]


def get_flops(capsys, *arguments):
    """What the tool prints: parameters in M, FLOPs in G."""
    capsys.readouterr()
    main([str(argument) for argument in arguments])
    params, flops = re.search(r'([\d.]+) M\nFLOPs +([\d.]+) G', capsys.readouterr().out).groups()
    return float(params), float(flops)


def count_on_meta(backbone, shape):
    """Parameters in M and FLOPs in G as `get_flops` counts them, without computing anything.

    PyTorch counts a multiply-add as two and leaves out norms, for which fvcore takes 5 (LayerNorm)
    or 2 (BatchNorm) for each value.
    """
    norms = []
    for module in backbone.modules():
        if isinstance(module, (nn.LayerNorm, nn.BatchNorm3d)):
            cost = 5 if isinstance(module, nn.LayerNorm) else 2
            module.register_forward_hook(lambda _, __, y, cost=cost: norms.append(cost * y.numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone.eval()(torch.zeros(1, 3, *shape, device='meta'))
    flops = counter.get_total_flops() / 2 + sum(norms)
    return sum(p.numel() for p in backbone.parameters()) / 1e6, flops / 1e9


def on_meta(config):
    with torch.device('meta'):
        return MODELS.build(copy.deepcopy(config))


@functools.cache
def backbone_of(name):
    """What a model's figures depend on, as text."""
    backbone = load_config(CONFIGS / f'{name}.py').model.backbone
    return str(sorted((k, v) for k, v in backbone.items() if k != 'drop_path_rate'))


def check(model, params, flops):
    assert params == pytest.approx(model['Parameters'], abs=5e-4)
    assert flops == pytest.approx(model['FLOPs'], abs=5e-3)
    if model['Name'] in PUBLISHED:
        assert params == pytest.approx(PUBLISHED[model['Name']][0], abs=5e-4)
        assert flops == pytest.approx(PUBLISHED[model['Name']][1], rel=0.01)


@pytest.mark.parametrize('config', [SMALL, dict(SMALL, temporal_pooling=[-1, 2, 1])])
def test_count_on_meta_equals_get_flops(config):
    shape = config['video_size']
    params, flops = count(DualFormer(**config), shape)
    assert count_on_meta(on_meta(dict(config, type='DualFormer')), shape) == pytest.approx(
        (params / 1e6, flops.total() / 1e9), rel=1e-12
    )


@MODELS.register_module(force=True)
class OneConvolution(nn.Conv3d):
    """A backbone of a user's, without `pretrained`."""

    def __init__(self):
        super().__init__(3, 4, 3, padding=1)


def test_backbone_of_the_users_that_is_frozen(capsys, tmp_path):
    config = tmp_path / 'own.py'
    config.write_text(
        "model = dict(type='Recognizer3D', backbone=dict(type='OneConvolution', frozen=True),\n"
        "    cls_head=dict(type='I3DHead', num_classes=2, in_channels=4))\n"
    )
    params, flops = get_flops(capsys, config, '--shape', 10, 100, 100)
    assert (params, flops) == pytest.approx((0, 0.03), abs=0.003)


@pytest.mark.parametrize('model', MODELS_OF_README, ids=lambda model: model['Name'])
def test_metafile_figures_are_current(model):
    cfg = load_config(CONFIGS / f'{model["Name"]}.py', [])
    check(model, *count_on_meta(on_meta(cfg.model.backbone), clip_shape(cfg)))
    (sampling,) = [s for s in cfg.test_pipeline if s['type'] == 'SampleFrames']
    crops = 3 if any(step['type'] == 'ThreeCrop' for step in cfg.test_pipeline) else 1
    assert model['Views'] == sampling['num_clips'] * crops


@pytest.mark.slow
def test_metafile_figures_are_what_get_flops_prints(capsys):
    """Counted once for all models of one backbone."""
    for model in {backbone_of(m['Name']): m for m in MODELS_OF_README}.values():
        check(model, *get_flops(capsys, CONFIGS / f'{model["Name"]}.py'))


def test_readme_table_matches_metafile():
    model_table.main(['--check'])
    checkpoints = (ROOT / 'checkpoints' / 'README.md').read_text()
    for model in MODELS_OF_README:
        assert model.get('Weights', '') in checkpoints


def test_a_wrong_metafile_is_named(tmp_path):
    path = tmp_path / 'metafile.yml'
    for change, message in (
        (dict(Top1=1), r"unknown \['Top1'\], missing \[\]"),
        (dict(Name='no_such_config'), 'there is no config no_such_config'),
        (dict(Measured=[0.5]), 'Measured and Command go together'),
    ):
        path.write_text(yaml.safe_dump(dict(Models=[{**MODELS_OF_README[0], **change}])))
        with pytest.raises(ValueError, match=message):
            model_table.read_models(path)


def test_other_shapes_cost_in_proportion(capsys):
    config = CONFIGS / 'dualformer_pico_motion_digits.py'
    cfg = load_config(config)
    params, whole = get_flops(capsys, config)
    assert params == pytest.approx(
        count_on_meta(on_meta(cfg.model.backbone), (8, 40, 40))[0], abs=5e-4
    )
    t, h, w = clip_shape(cfg)
    _, double = get_flops(capsys, config, '--shape', 2 * t, h, w)
    assert 2 <= double / whole < 3  # full attention in the last stage grows faster than tokens


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ("model = dict(type='Recognizer3D', backbon=1)", 'did you mean "backbone"'),
        ("model = dict(type='ActionDataPreprocessor')", 'ActionDataPreprocessor has no backbone'),
    ],
)
def test_what_cannot_be_counted_is_one_sentence(tmp_path, capsys, text, message):
    (tmp_path / 'own.py').write_text(text)
    with pytest.raises(SystemExit):
        main([str(tmp_path / 'own.py')])
    told = capsys.readouterr().err
    assert told.startswith('error: config key model')
    assert message in told
