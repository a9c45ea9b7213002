"""Configs that fine-tune mmaction2's published checkpoints, and the figures of their metafile."""

import copy
import re
from pathlib import Path

import pytest
import torch

from mmaction.config.load import load_config
from mmaction.registry import MODELS
from tests import zoo
from tools.analysis_tools.get_flops import clip_shape, count
from tools.misc import model_table

FOLDER = Path(__file__).parents[2] / 'configs' / 'recognition'
ENTRIES = model_table.read_zoo()
# Elsewhere than in the model zoo of mmaction2
HERE = {'pretrained', 'init_cfg', 'channel_map', 'test_cfg', 'train_cfg'}


def config_of(entry):
    return load_config(FOLDER / f'{entry["Name"]}.py', [])


def plain(node):
    """Without what says where weights come from; sequences as lists."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items() if key not in HERE}
    return [plain(value) for value in node] if isinstance(node, (list, tuple)) else node


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry['Name'].split('/')[0])
def test_configs_have_the_published_model(entry):
    cfg, published = config_of(entry), copy.deepcopy(zoo.configs()[f'{entry["Name"]}.py'])
    # the layout of frames is the default, which some leave out
    published['model']['data_preprocessor'].setdefault('format_shape', 'NCHW')
    assert plain(cfg.model.to_dict()) == plain(published['model'])
    assert cfg.load_from == entry['Weights']
    assert re.fullmatch(r'https://download\.openmmlab\.com/.*[-_][0-9a-f]{8}\.pth', cfg.load_from)
    # The checkpoint sees the clips that it was trained on.
    steps = published.get('train_pipeline') or published['test_pipeline']
    (wanted,) = [step for step in steps if 'clip_len' in step]
    (sampled,) = [step for step in cfg.train_pipeline if 'clip_len' in step]
    frames = wanted['clip_len'] * wanted.get('num_clips', 1)
    if wanted['type'] == 'SampleFrames':
        assert sampled.frame_interval == wanted['frame_interval']
        assert (
            sampled.get('num_clips', 1) == wanted['num_clips'] or 'train_pipeline' not in published
        )
    assert sampled['clip_len'] * sampled.get('num_clips', 1) == frames or 'num_clips' not in sampled
    layout = 'NCHW' if cfg.model.type == 'Recognizer2D' else 'NCTHW'
    assert cfg.train_pipeline[-2] == dict(type='FormatShape', input_format=layout)


def test_figures_of_small_networks_are_current():
    check_figures(next(entry for entry in ENTRIES if entry['Name'].startswith('x3d/')))


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry['Name'].split('/')[0])
def test_parameters_are_current(entry):
    with torch.device('meta'):
        model = MODELS.build(config_of(entry).model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters / 1e6 == pytest.approx(entry['Parameters'], abs=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry['Name'].split('/')[0])
def test_flops_are_current(entry):
    check_figures(entry)


def check_figures(entry):
    cfg = config_of(entry)
    backbone = MODELS.build(copy.deepcopy(cfg.model.backbone))
    _, flops = count(backbone, clip_shape(cfg), by_frame=cfg.model.type == 'Recognizer2D')
    assert flops.total() / 1e9 == pytest.approx(entry['FLOPs'], abs=5e-3)


def test_a_wrong_entry_is_named(tmp_path):
    path = tmp_path / 'metafile.yml'
    path.write_text('Models:\n  - Name: swin/none\n')
    with pytest.raises(ValueError, match=r"swin/none: unknown or missing \['Data', 'FLOPs'"):
        model_table.read_zoo(path)
