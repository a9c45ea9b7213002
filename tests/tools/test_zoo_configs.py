"""mmaction2's own recognition configs through `tools/train.py` and `tools/test.py`.

A config is written as it was recorded; only what cannot be here is changed, networks
have fewer blocks and no pretrained weights, and an epoch is one small batch. The lists,
videos and frames that it names are synthesized in the working directory.
"""

import copy
import itertools
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmaction.config.load import load_config
from mmaction.errors import ConfigError
from mmaction.registry import MODELS
from tests import zoo
from tests.tools.test_train_and_test_options import tool
from tests.video_factory import frame_pixels, write_video

# What makes a network of a type small, and the channels that it gives then; a row of a table
# is for networks that are built alike.
IMAGE = dict(depth=50, num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,))
TWO_STAGES = dict(depth=50, num_stages=2, strides=(1, 2), dilations=(1, 1))
VIDEO = dict(base_channels=8, stage_blocks=[1, 1, 1, 1], inflate=[1, 1, 1, 1])
SMALLER: dict[str, tuple[dict, int]] = {
    **dict.fromkeys(('ResNet', 'C2D', 'ResNetTSM', 'ResNetTIN', 'TANet'), (IMAGE, 256)),
    'MobileNetV2TSM': (dict(widen_factor=0.25), 1280),
    'torchvision.densenet161': ({}, 2208),
    'timm.swin_base_patch4_window7_224': (dict(embed_dim=32, depths=(1, 1, 1, 1)), 256),
    **dict.fromkeys(('ResNet3d', 'ResNet3dSlowOnly', 'ResNet3dCSN'), (VIDEO, 256)),
    'ResNet2Plus1d': (VIDEO, 64),
    'ResNet3dSlowFast': ({}, 576),
    'X3D': (dict(gamma_d=0.4), 432),
    'C3D': ({}, 4096),
    'SwinTransformer3D': (
        dict(arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8])),
        64,
    ),
    'MViT': (
        dict(
            arch=dict(embed_dims=8, num_layers=4, num_heads=1, downscale_indices=[1, 2, 3]),
            patch_cfg=dict(kernel_size=(3, 7, 7), stride=(2, 14, 14), padding=(1, 3, 3)),
            adaptive_kv_stride=(1, 2, 2),
        ),
        64,
    ),
    'TimeSformer': (dict(num_transformer_layers=1, embed_dims=48), 48),
    'VisionTransformer': (dict(depth=1, embed_dims=48), 48),
    'UniFormer': (dict(depth=[1, 1, 1, 1], embed_dim=[8, 16, 64, 64]), 64),
    'UniFormerV2': (
        dict(layers=2, return_list=[0, 1], n_layers=2, width=48, n_dim=48, heads=4, n_head=4),
        48,
    ),
}
# Their clips stay as large as they are, on which tables of positions depend.
TRANSFORMERS = {'TimeSformer', 'VisionTransformer', 'UniFormer', 'UniFormerV2'}
FAMILIES = dict(
    tsn='tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py',
    c2d='c2d/c2d_r50-in1k-pre_8xb32-8x8x1-100e_kinetics400-rgb.py',
    tsm='tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv2-rgb.py',
    slowonly='slowonly/slowonly_r50_8xb16-16x4x1-256e_kinetics400-flow.py',
    i3d='i3d/i3d_imagenet-pretrained-r50-nl-gaussian_8xb8-32x2x1-100e_kinetics400-rgb.py',
    slowfast='slowfast/slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb.py',
    csn='csn/ircsn_r152_32x2x1-180e_kinetics400-rgb.py',
    r2plus1d='r2plus1d/r2plus1d_r34_8xb8-8x8x1-180e_kinetics400-rgb.py',
    trn='trn/trn_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv2-rgb.py',
    tanet='tanet/tanet_imagenet-pretrained-r50_8xb8-1x1x8-50e_sthv1-rgb.py',
    tin='tin/tin_imagenet-pretrained-r50_8xb6-1x1x8-40e_sthv1-rgb.py',
    tpn='tpn/tpn-slowonly_r50_8xb8-8x8x1-150e_kinetics400-rgb.py',
    swin='swin/swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb.py',
    mvit='mvit/mvit-small-p244_k400-maskfeat-pre_8xb32-16x4x1-100e_kinetics400-rgb.py',
    timesformer='timesformer/timesformer_divST_8xb8-8x32x1-15e_kinetics400-rgb.py',
    uniformerv2=(
        'uniformerv2/uniformerv2-base-p16-res224_clip-kinetics710-kinetics-k400-pre_16xb32-u8_mitv1'
        '-rgb.py'
    ),
)
# Published without a training part
TEST_ONLY = dict(
    x3d='x3d/x3d_m_16x5x1_facebook-kinetics400-rgb.py',
    videomae='videomae/vit-base-p16_videomae-k400-pre_16x4x1_kinetics-400.py',
    uniformer='uniformer/uniformer-small_imagenet1k-pre_16x4x1_kinetics400-rgb.py',
)

LEFT_OUT = {
    'omnisource/slowonly_r50_8xb16-8x8x1-256e_imagenet-kinetics400-rgb.py': 'images and videos',
    'tsm/tsm_imagenet-pretrained-mobileone-s4_8xb16-1x1x16-50e_kinetics400-rgb.py': 'MobileOne',
    'tsm/tsm_imagenet-pretrained-mobileone-s4_deploy_8xb16-1x1x16-50e_kinetics400-rgb.py': (
        'MobileOne'
    ),
    'tsn/custom_backbones/'
    'tsn_imagenet-pretrained-mobileone-s4_8xb32-1x1x8-100e_kinetics400-rgb.py': 'mmpretrain',
    'tsn/custom_backbones/'
    'tsn_imagenet-pretrained-mobileone-s4_deploy_8xb32-1x1x8-100e_kinetics400-rgb.py': (
        'mmpretrain'
    ),
    'tsn/custom_backbones/'
    'tsn_imagenet-pretrained-rn101-32x4d_8xb32-1x1x3-100e_kinetics400-rgb.py': 'mmcls',
}


def datasets_in(node):
    """Every dataset of a config: what has a list of its own."""
    if isinstance(node, dict):
        if 'ann_file' in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from datasets_in(part)


def synthesize(cfg, clip):
    """Write the lists that a config names, and two clips for each."""
    # one clip to test; the list of training comes last, where both are the same
    for dataset in [*datasets_in(cfg), *datasets_in(cfg.get('train_dataloader', {}))]:
        clips = 'ab' if dataset in list(datasets_in(cfg.get('train_dataloader', {}))) else 'a'
        root = Path(dataset.get('data_root') or '')
        prefix = dataset.get('data_prefix') or {}
        list_file = root / dataset['ann_file']
        list_file.parent.mkdir(parents=True, exist_ok=True)
        kind = 'img' if dataset['type'] == 'RawframeDataset' else 'video'
        folder = root / (prefix.get(kind) or '')
        folder.mkdir(parents=True, exist_ok=True)
        if dataset['type'] != 'RawframeDataset':
            for name in clips:
                shutil.copy(clip, folder / f'{name}.mp4')
            between = dataset.get('delimiter', ' ')
            lines = [f'{name}.mp4{between}{label}' for label, name in enumerate(clips)]
            list_file.write_text('\n'.join(lines))
            continue
        from PIL import Image

        template = dataset.get('filename_tmpl', 'img_{:05}.jpg')
        for name in clips:
            (folder / name).mkdir(exist_ok=True)
            for index in range(1, 41):
                for flow in 'xy' if template.count('{') == 2 else '-':
                    image = Image.fromarray(frame_pixels(index, 96, 64))
                    parts = (index,) if flow == '-' else (flow, index)
                    image.convert('RGB' if flow == '-' else 'L').save(
                        folder / name / template.format(*parts)
                    )
        lines = [f'{name} 40 {label}' for label, name in enumerate(clips)]
        list_file.write_text('\n'.join(lines))


def shrunk(cfg, views, small_crops):
    """A copy with a small network and few views, without pretrained weights and workers."""
    cfg = copy.deepcopy(cfg)
    model = cfg['model']
    kind = model['backbone']['type']
    options, channels = SMALLER[kind]
    if options is IMAGE and ('neck' in model or 'non_local' in model['backbone']):
        options, channels = dict(TWO_STAGES, out_indices=(0, 1) if 'neck' in model else (1,)), 512
    model['backbone'].update(options)
    if options is VIDEO and 'non_local' in model['backbone']:
        model['backbone']['non_local'] = [0, 0, 1, 0]
    model['cls_head']['in_channels'] = channels
    for pathway, width in (('slow_pathway', 16), ('fast_pathway', 2)):
        if pathway in model['backbone']:
            model['backbone'][pathway].update(stage_blocks=[1, 1, 1, 1], base_channels=width)
    if 'neck' in model:
        shrink_pyramid(model, channels)
    if small_crops and kind not in TRANSFORMERS:
        if kind == 'MViT':
            model['backbone']['spatial_size'] = 64
        shrink_frames({key: part for key, part in cfg.items() if key.endswith('_dataloader')})
    cfg['load_from'] = None
    for part in (model['backbone'], model['cls_head']):
        part.pop('pretrained', None)
        part.pop('init_cfg', None)
    for split in ('train', 'val', 'test'):
        if f'{split}_dataloader' in cfg:
            cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
            cfg[f'{split}_dataloader']['batch_size'] = 2 if split == 'train' else 1
    pipelines = [dataset['pipeline'] for dataset in datasets_in(cfg['test_dataloader'])]
    for step in itertools.chain(*pipelines):
        # views of clips; of frame-wise models the segments, of which only TSN takes any number
        if 'num_clips' in step and step.get('clip_len') != 1:
            step['num_clips'] = views
        elif step.get('num_clips') == 25:
            step['num_clips'] = 3
        if step['type'] == 'DenseSampleFrames':
            step['num_sample_positions'] = views
    if 'train_cfg' in cfg:
        cfg['train_cfg'].update(max_epochs=1)
        for key in ('val_cfg', 'val_dataloader', 'val_evaluator'):
            cfg.pop(key)
    return cfg


def shrink_pyramid(model, channels):
    """A temporal pyramid on maps of `channels` and half of them, in place."""
    maps = [channels // 2, channels]
    neck = model['neck']
    neck.update(in_channels=maps, out_channels=maps[0])
    neck['spatial_modulation_cfg'].update(in_channels=maps, out_channels=channels)
    between = [maps[0]] * 2
    neck['level_fusion_cfg'].update(
        in_channels=between, mid_channels=between, out_channels=channels
    )
    model['cls_head']['in_channels'] = 2048  # which a pyramid always gives


def shrink_frames(node):
    """Crops of 64 instead of 224 or 256, in place; what is done stays."""
    sizes = {224: 64, 256: 64, 320: 72, 340: 96}
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        if isinstance(value, (dict, list)):
            shrink_frames(value)
        elif not isinstance(value, bool):
            node[key] = sizes.get(value, value)


def run_tool(name, arguments, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, arguments)])
    tool(name).main()


def run_config(name, folder, monkeypatch, views, small_crops=False):
    """One training step, where the config trains, and a test of its weights."""
    cfg = shrunk(zoo.configs()[name], views, small_crops)
    monkeypatch.chdir(folder)
    synthesize(cfg, write_video(folder / 'clip.mp4', num_frames=40, width=96, height=64))
    file = folder / Path(name).name
    file.write_text(''.join(f'{key} = {value!r}\n' for key, value in cfg.items()))
    weights = folder / 'run' / 'epoch_1.pth'
    if 'train_cfg' in cfg:
        run_tool('train', [file, '--work-dir', weights.parent], monkeypatch)
        state = torch.load(weights, weights_only=False)['state_dict']
        assert all(value.isfinite().all() for value in state.values())
    else:
        weights.parent.mkdir()
        model = MODELS.build(Config(cfg).model)
        torch.save(dict(state_dict=model.state_dict(), meta={}), weights)
    out = folder / 'scores.json'
    run_tool('test', [file, weights, '--work-dir', folder, '--out', out], monkeypatch)
    scores = torch.tensor(json.loads(out.read_text()))
    clips = len(list(datasets_in(cfg['test_dataloader'])))  # of joint testing one each
    assert scores.shape == (clips, cfg['model']['cls_head']['num_classes'])
    assert torch.allclose(scores.sum(1), torch.ones(1), atol=1e-4)


@pytest.mark.parametrize('family', [*FAMILIES, *TEST_ONLY])
def test_a_config_of_each_family_trains_and_tests(family, tmp_path, monkeypatch):
    run_config({**FAMILIES, **TEST_ONLY}[family], tmp_path, monkeypatch, 1, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        name
        for name, cfg in zoo.configs().items()
        if cfg['model']['backbone']['type'] in SMALLER
        and 'test_dataloader' in cfg  # three are but models, for weights of Kinetics-710
    ],
)
def test_every_config_trains_and_tests(name, tmp_path, monkeypatch):
    run_config(name, tmp_path, monkeypatch, views=2)


def write_config(name, folder):
    """A config as a Python file, unchanged."""
    path = folder / Path(name).name
    path.write_text(''.join(f'{key} = {value!r}\n' for key, value in zoo.configs()[name].items()))
    return path


@pytest.mark.parametrize('name', [name for name in zoo.configs() if name not in LEFT_OUT])
def test_config_loads_unchanged(name, tmp_path):
    cfg = load_config(write_config(name, tmp_path))
    assert cfg.model.type in ('Recognizer2D', 'Recognizer3D')


@pytest.mark.parametrize('name', LEFT_OUT)
def test_config_left_out_says_why(name, tmp_path):
    with pytest.raises(ConfigError, match=LEFT_OUT[name]):
        load_config(write_config(name, tmp_path))


def test_unknown_backbone_names_the_nearest_backbones(tmp_path):
    path = write_config('x3d/x3d_m_16x5x1_facebook-kinetics400-rgb.py', tmp_path)
    with pytest.raises(ConfigError, match=r'"timm\.NAME" and "transformers\.NAME"\); did you') as e:
        load_config(path, ['model.backbone.type=ResNet3dSlowFats'])
    assert 'did you mean "ResNet3dSlowFast"?' in str(e.value)
    with pytest.raises(ConfigError, match=r'known are .*C2D, C3D') as e:
        load_config(path, ['model.backbone.type=Xception'])
    assert 'Head' not in str(e.value)
    assert 'Loss' not in str(e.value)


def test_slips_of_published_configs_are_read_as_meant(tmp_path, capsys):
    name = 'tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_sthv2-rgb.py'
    cfg = load_config(write_config(name, tmp_path))
    assert cfg.test_dataloader.dataset.pipeline == cfg.test_pipeline
    assert 'pipeline' not in cfg.test_dataloader
    assert 'test_dataloader.pipeline is read as' in capsys.readouterr().err
    cfg = load_config(write_config('mvit/mvit-large-p244_u40_sthv2-rgb.py', tmp_path))
    blends = cfg.model.data_preprocessor.blending.augments
    assert [blend.num_classes for blend in blends] == [174, 174]
    assert 'MixupBlending.num_classes=400 is read as 174' in capsys.readouterr().err
